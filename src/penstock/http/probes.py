"""`/healthz`, `/readyz`, `/metrics`: what orchestrators and Prometheus ask of every service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from .asgi import Answer

if TYPE_CHECKING:
    from ..health import Check
    from ..telemetry import Metrics

TEXT: Final = {"Content-Type": "text/plain; charset=utf-8"}


class Observed(Protocol):
    """What tells how it is doing: the application, or a service that runs by itself."""

    @property
    def metrics(self) -> Metrics:
        """What it has counted."""
        ...

    def checks(self) -> Awaitable[Sequence[Check]]:
        """Look at everything that can be wrong while running."""
        ...

    def look_up(self) -> Awaitable[None]:
        """Set the metrics that are not counted along the way."""
        ...


Probe: TypeAlias = Callable[[Observed], Awaitable[Answer]]


async def healthz(observed: Observed) -> Answer:
    """Alive: whoever answers is."""
    del observed
    return Answer(HTTPStatus.OK, TEXT, b"OK\n")


async def readyz(observed: Observed) -> Answer:
    """Able to do its work; else what is missing. What is wrong otherwise is told, too."""
    wrong = [check for check in await observed.checks() if not check.ok]
    missing = [check for check in wrong if check.gates]
    if missing:
        return Answer(HTTPStatus.SERVICE_UNAVAILABLE, TEXT, _told(missing).encode())
    return Answer(HTTPStatus.OK, TEXT, f"OK\n{_told(wrong)}".encode())


async def metrics(observed: Observed) -> Answer:
    """All that is counted, as Prometheus reads it."""
    await observed.look_up()
    return Answer(HTTPStatus.OK, {"Content-Type": CONTENT_TYPE_LATEST}, generate_latest(observed.metrics.registry))


PROBES: Final[dict[str, Probe]] = {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics}


def _told(checks: Sequence[Check]) -> str:
    return "".join(f"{check.name}: {check.detail} {check.hint}\n" for check in checks)
