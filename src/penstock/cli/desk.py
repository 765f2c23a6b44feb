"""Where commands about postprocessing look and ask: at a server of ours, or at the services' bus and store."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from .options import quiet_logs, server_url, settings_from

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from ..postprocessing.commands import Row
    from ..postprocessing.requests import Requests
    from ..settings import Settings
    from .api import Api

T = TypeVar("T")
Take: TypeAlias = "Callable[[dict[str, Any]], None]"
"""Takes one row."""

_ALL: Final = 1_000_000_000
_WHERE: Final = "OCIS_EVENTS_ENDPOINT (OpenCloud: OC_EVENTS_ENDPOINT)"
_OF_ONE_PROCESS: Final = ("sqlite", "memory", "ocmem", "noop")


class ServerDesk:
    """Asks `penstock serve` over HTTP."""

    def __init__(self, url: str) -> None:
        self._url = url

    def records(self, step: str | None, limit: int, take: Take) -> int:
        """Hand over the records of one step, or of all, at most `limit` (0: all); return how many more there are."""
        with self._api() as api:
            return api.rows("/postprocessing", "records", take, step=step, limit=limit or _ALL)

    def act(self, action: str, upload_id: str | None, step: str | None) -> list[dict[str, Any]]:
        """Do something with one upload, or with those in a step; return a row for each."""
        with self._api() as api:
            results: list[dict[str, Any]] = api.post(f"/postprocessing/{action}", upload_id=upload_id, step=step)[
                "results"
            ]
        return results

    @contextmanager
    def _api(self) -> Iterator[Api]:
        """Reach the server; whoever meant services on NATS is told how to say so."""
        from .api import Api, NothingThere

        try:
            with Api(self._url) as api:
                yield api
        except NothingThere as error:
            raise NothingThere(
                f"{error} Or do you mean services on NATS? Then say --bus nats, or set {_WHERE}."
            ) from error


class EventDesk:
    """Reads the store and publishes events, as the commands of the Go services do."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def records(self, step: str | None, limit: int, take: Take) -> int:
        """Hand over the records of one step, or of all, at most `limit` (0: all); return how many more there are."""
        import msgspec

        from ..clock import SystemClock
        from ..postprocessing.shown import ShownRecord

        now, stalled_after = SystemClock().now(), self._settings.stalled_after.total_seconds()

        async def listed(requests: Requests) -> int:
            met = 0
            async for saved in requests.records(step):
                met += 1
                if not limit or met <= limit:
                    take(msgspec.to_builtins(ShownRecord.of(saved.progress, now, stalled_after)))
            return max(0, met - limit) if limit else 0

        return self._with(listed)

    def act(self, action: str, upload_id: str | None, step: str | None) -> list[dict[str, Any]]:
        """Ask for something with one upload, or with those in a step; return a row for each."""

        async def asked(requests: Requests) -> list[Row]:
            if action == "restart" and not self._settings.restart_resumes:
                return await requests.restart(upload_id, step)
            return await requests.resume(upload_id, step, action=action)

        return _documents(self._with(asked))

    def _with(self, use: Callable[[Requests], Awaitable[T]]) -> T:
        import asyncio

        from ..app.desk import open_requests

        async def used() -> T:
            async with open_requests(self._settings) as requests:
                return await use(requests)

        quiet_logs()
        return asyncio.run(used())


def desk_of(url: str | None, bus: str | None, config: Path | None) -> ServerDesk | EventDesk:
    """Return where to ask: what the options say, else what the settings speak of.

    Whoever has set where the events or the records of a platform are means these; all others mean a server of ours.
    """
    if not url and (bus == "nats" or (bus is None and speaks_of_services(config))):
        return EventDesk(settings_from(config, "postprocessing", bus=bus))
    return ServerDesk(server_url(url, config))


def speaks_of_services(config: Path | None) -> bool:
    """Tell whether the settings say where the events or the records of a platform are."""
    settings = settings_from(config, "postprocessing")
    chosen = {name for name, origin in settings.origins.items() if str(origin) != "default"}
    shared_store = any(name.startswith("store") for name in chosen) and settings.store not in _OF_ONE_PROCESS
    return settings.bus != "local" and (shared_store or any(name.startswith(("bus", "events_")) for name in chosen))


def _documents(rows: list[Row]) -> list[dict[str, Any]]:
    import msgspec

    return [msgspec.to_builtins(row) for row in rows]
