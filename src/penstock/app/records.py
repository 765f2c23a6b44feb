"""The records that a service keeps in its own memory, asked for at its debug address."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Final

import httpx

from ..store import layout
from ..store.base import Revision, Saved, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from ..settings import Settings

_TIMEOUT: Final = httpx.Timeout(30.0, connect=4.0)
_UNKNOWN: Final = Revision(0)
"""Nobody writes from here."""


class RecordsOfService:
    """Reads what a service answers at `/records`."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def get(self, upload_id: str) -> Saved | None:
        """Return one record, or None when there is none."""
        async with aclosing(self._read(id=upload_id)) as found:
            return await anext(found, None)

    def in_step(self, step: str) -> AsyncIterator[Saved]:
        """Yield the records of a step."""
        return self._read(step=step)

    def all(self) -> AsyncIterator[Saved]:
        """Yield every record."""
        return self._read()

    async def _read(self, **asked: str) -> AsyncGenerator[Saved, None]:
        try:
            async with self._client.stream("GET", "/records", params=asked) as answer:
                if answer.status_code != httpx.codes.OK:
                    said = (await answer.aread()).decode(errors="replace").strip()
                    raise StoreUnavailable(f"{self._client.base_url} answers {answer.status_code}: {said}")
                rest = b""
                async for piece in answer.aiter_bytes():  # its lines would also end where a name has U+2028
                    *lines, rest = (rest + piece).split(b"\n")
                    for line in lines:
                        yield Saved(layout.decode(line), _UNKNOWN)
        except httpx.HTTPError as error:
            raise StoreUnavailable(f"{self._client.base_url} does not answer: {error}") from error
        except layout.BadRecord as error:
            raise StoreUnavailable(f"{self._client.base_url} is no service of ours: {error}") from error


@asynccontextmanager
async def records_of_service(settings: Settings) -> AsyncIterator[tuple[RecordsOfService | None, str]]:
    """Yield the records of the service that these settings are of, else None and why they cannot be had."""
    address = settings.debug_addr
    if address is None:
        yield None, "it has no debug address, which POSTPROCESSING_DEBUG_ADDR gives it."
        return
    headers = {"Authorization": f"Bearer {settings.debug_token}"} if settings.debug_token else {}
    url = f"http://{address.from_here}"
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT, trust_env=False) as client:
        records = RecordsOfService(client)
        try:
            await records.get("-")
        except StoreUnavailable as error:
            yield None, f"{error}."
        else:
            yield records, ""
