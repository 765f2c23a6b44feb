"""`/api/v1/usage`: what spaces and users have, and may have."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from .asgi import headers_of
from .services import Services
from .views import SubjectUsage, UsageView


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/usage", tags=["usage"])

    @routes.get("", summary="Show who has how much")
    async def usage() -> UsageView:
        """Summed up from all uploads: of every space and user that has anything, or limits of its own."""
        return UsageView(usage=[SubjectUsage.of(one) for one in await services.usages.of_all()])

    @routes.get("/mine", summary="Show what the user who asks has, and a space, as far as there are quotas")
    async def mine(
        request: Request, *, space: Annotated[str, Query(description="The space to show.")] = "default"
    ) -> UsageView:
        named = bool(services.user_header)
        owner = services.callers.owner(request.scope, headers_of(request.scope)) if named else None
        found = await services.usages.of(space, owner)
        return UsageView(usage=[SubjectUsage.of(one) for one in found])

    return routes
