"""`/healthz`, `/readyz`, `/metrics`, and the API's own view of its health."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from .. import __version__

if TYPE_CHECKING:
    from ..health import Check
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
    """Return the routes under the API's prefix."""
    routes = APIRouter(tags=["status"])

    @routes.get("/doctor", summary="Look at everything that can be wrong")
    async def doctor() -> Doctor:
        return Doctor(checks=[CheckView.of(check) for check in await services.checks()])

    @routes.get("/info", summary="Name and version")
    async def info() -> Info:
        return Info()

    return routes


def router(services: Services) -> APIRouter:
    """Return the routes that orchestrators and Prometheus ask."""
    routes = APIRouter(tags=["status"])

    @routes.get("/healthz", summary="Alive?")
    async def healthz() -> Response:
        return Response("OK\n", media_type="text/plain")

    @routes.get("/readyz", summary="Able to do its work?")
    async def readyz() -> Response:
        missing = [check for check in await services.checks() if check.gates and not check.ok]
        if not missing:
            return Response("OK\n", media_type="text/plain")
        text = "".join(f"{check.name}: {check.detail} {check.hint}\n" for check in missing)
        return Response(text, status_code=503, media_type="text/plain")

    @routes.get("/metrics", summary="Prometheus metrics")
    async def metrics() -> Response:
        await _look_up(services)
        return Response(generate_latest(services.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return routes


async def _look_up(services: Services) -> None:
    """Set the values that are not counted along the way."""
    metrics = services.metrics
    metrics.in_step.clear()
    for step, number in (await services.store.count_by_step()).items():
        metrics.in_step.labels(step).set(number)
    for phase, number in (await services.catalogue.counts()).items():
        metrics.uploads.labels(phase).set(number)
    for group in services.bus.groups():
        metrics.queue_depth.labels(group).set(services.bus.pending(group))
    numbers = await services.survey.numbers()
    metrics.oldest_seconds.set(numbers.oldest_seconds)
    metrics.stalled.set(numbers.stalled)
