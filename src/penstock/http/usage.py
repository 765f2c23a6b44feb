"""`/api/v1/usage`: what spaces and users have, and may have."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from ..uploads.allowances import SubjectKind
from ..uploads.quotas.accounts import Usage
from .asgi import headers_of
from .services import Services


class SubjectUsage(BaseModel):
    """What the server, a space or a user has, and may have."""

    kind: SubjectKind
    name: Annotated[str, Field(description="Empty: the server, or users without a name.")]
    used: Annotated[int, Field(description="Bytes of files that have arrived.")]
    reserved: Annotated[int, Field(description="Bytes that unfinished uploads will have.")]
    limit: Annotated[int | None, Field(description="The quota in bytes; null: there is none.")]
    free: Annotated[int | None, Field(description="Bytes that are left; null: there is no quota.")]
    unfinished: int
    max_unfinished: int | None

    @classmethod
    def of(cls, usage: Usage) -> SubjectUsage:
        """Show what somebody has."""
        account, limit = usage.account, usage.allowance.quota_bytes
        return cls(
            kind=usage.subject.kind,
            name=usage.subject.name,
            used=account.used_bytes,
            reserved=account.reserved_bytes,
            limit=limit,
            free=None if limit is None else max(0, limit - account.used_bytes - account.reserved_bytes),
            unfinished=account.unfinished,
            max_unfinished=usage.allowance.max_unfinished,
        )


class UsageView(BaseModel):
    """What everybody has."""

    usage: list[SubjectUsage]


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1/usage", tags=["usage"])

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
