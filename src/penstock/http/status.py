"""`/healthz`, `/readyz`, `/metrics`, and the API's own view of its health."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from .. import __version__

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from ..health import Check
    from ..telemetry import Metrics
    from .services import Services


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


class CheckView(BaseModel):
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    hint: str

    @classmethod
    def of(cls, check: Check) -> CheckView:
        """Show a check."""
        return cls(name=check.name, ok=check.ok, detail=check.detail, hint=check.hint)


class Doctor(BaseModel):
    """Everything that was looked at."""

    checks: list[CheckView]


class Info(BaseModel):
    """What is running here."""

    name: str = "penstock"
    version: str = __version__


def api_router(services: Services) -> APIRouter:
    """Return the routes under the API's prefix."""
    routes = APIRouter(tags=["status"])

    @routes.get("/doctor", summary="Look at everything that can be wrong")
    async def doctor() -> Doctor:
        return Doctor(checks=[CheckView.of(check) for check in await services.checks()])

    @routes.get("/info", summary="Name and version")
    async def info() -> Info:
        return Info()

    return routes


def router(observed: Observed) -> APIRouter:
    """Return the routes that orchestrators and Prometheus ask."""
    routes = APIRouter(tags=["status"])

    @routes.get("/healthz", summary="Alive?")
    async def healthz() -> Response:
        return Response("OK\n", media_type="text/plain")

    @routes.get("/readyz", summary="Able to do its work?")
    async def readyz() -> Response:
        wrong = [check for check in await observed.checks() if not check.ok]
        missing = [check for check in wrong if check.gates]
        if missing:
            return Response(_told(missing), status_code=503, media_type="text/plain")
        return Response(f"OK\n{_told(wrong)}", media_type="text/plain")

    @routes.get("/metrics", summary="Prometheus metrics")
    async def metrics() -> Response:
        await observed.look_up()
        return Response(generate_latest(observed.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return routes


def _told(checks: Sequence[Check]) -> str:
    return "".join(f"{check.name}: {check.detail} {check.hint}\n" for check in checks)
