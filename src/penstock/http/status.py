"""`/healthz`, `/readyz`, `/metrics`, and the API's own view of its health."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from pydantic import BaseModel

from .. import __version__
from . import probes

if TYPE_CHECKING:
    from ..health import Check
    from .asgi import Answer
    from .probes import Observed
    from .services import Services


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
    """Return the routes of the API."""
    routes = APIRouter(prefix="/api/v1", tags=["status"])

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
        return _response(await probes.healthz(observed))

    @routes.get("/readyz", summary="Able to do its work?")
    async def readyz() -> Response:
        return _response(await probes.readyz(observed))

    @routes.get("/metrics", summary="Prometheus metrics")
    async def metrics() -> Response:
        return _response(await probes.metrics(observed))

    return routes


def _response(answer: Answer) -> Response:
    return Response(answer.body, status_code=answer.status, headers=dict(answer.headers))
