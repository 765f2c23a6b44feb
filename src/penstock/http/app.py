"""The ASGI application: the upload protocols on a short path, everything else through FastAPI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import Request
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline

from .. import __version__, web
from ..uploads.protocols.resumable import completes, is_meant
from . import antivirus, events, files, garbage, paths, postprocessing, status, uploads, usage
from .asgi import Asgi, Receive, Scope, Send, headers_of
from .content import Content
from .delivery import ROOT as DELIVERY
from .delivery import Delivering
from .form import PATHS as FORM_PATHS
from .form import Form
from .guard import only_as, only_small
from .named import Named
from .problems import install
from .put import CHANGING, Put
from .resumption import Resumable
from .tus import ROOT, Tus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI

    from .services import Services

_DESCRIPTION = """
Files are uploaded by tus 1.0.0 or by Resumable Uploads for HTTP (the IETF's draft) at `/uploads/`, or by
`PUT /files/{name}`, or many of them as a form by `POST /files/`. They are held back while their steps run, and then
released, rejected or deleted. Errors are problem details (RFC 9457).
"""


def build(services: Services) -> Asgi:
    """Return the application over running services."""
    uploading = Uploading(services)
    put = Put(services)
    form = Form(services)
    content = Content(services)
    delivering = Delivering(services)
    named = Named(services)
    api = only_small(services.address, _api(services))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope.get("path", "")
        if scope["type"] == "http" and (path == ROOT or path.startswith(f"{ROOT}/")):
            await uploading(scope, receive, send)
        elif scope["type"] == "http" and path in FORM_PATHS:
            await form(scope, receive, send, headers_of(scope))
        elif scope["type"] == "http" and path.startswith("/files/"):
            if scope["method"] in CHANGING:
                await named(scope, receive, send)
                return
            if scope["method"] not in ("OPTIONS", "PUT"):
                await content(scope, receive, send)
                return
            headers = headers_of(scope)
            if scope["method"] == "OPTIONS" or completes(headers) is None:
                await put(scope, receive, send, headers)
            else:
                await uploading.resumable(scope, receive, send, headers)
        elif scope["type"] == "http" and path.startswith("/api/v1/files/") and path.endswith("/content"):
            await content(scope, receive, send)
        elif scope["type"] == "http" and path.startswith(f"{DELIVERY}/"):
            await delivering(scope, receive, send)
        else:
            await api(scope, receive, send)

    return only_as(services.hosts, app)


class Uploading:
    """Two protocols at one address: tus, where a client says so, and the one of the IETF."""

    def __init__(self, services: Services) -> None:
        self.resumable = Resumable(services)
        self._tus = Tus(services)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have one request answered by whoever it is meant for."""
        headers = headers_of(scope)
        endpoint = self.resumable if await self._is_resumable(scope, headers) else self._tus
        await endpoint(scope, receive, send, headers)

    async def _is_resumable(self, scope: Scope, headers: Mapping[str, str]) -> bool:
        if "tus-resumable" in headers or scope["method"] == "OPTIONS":
            return False
        upload_id = scope["path"].removeprefix(ROOT).removeprefix("/")
        return is_meant(headers) or (upload_id != "" and await self.resumable.is_owner(upload_id))


def _api(services: Services) -> FastAPI:
    api = FastAPIOffline(title="Penstock", version=__version__, description=_DESCRIPTION, redoc_url=None)
    parts = (garbage, uploads, usage, files, paths, postprocessing, antivirus, events)
    routers = [*(part.router(services) for part in parts), status.api_router(services), status.router(services)]
    for router in routers:
        api.routes.extend(router.routes)  # as they are: to include a router is to work out all of its routes again
    api.mount("/static", StaticFiles(directory=web.STATIC), name="static")

    @api.get("/", include_in_schema=False)
    async def page(request: Request) -> FileResponse:
        del request
        return FileResponse(web.STATIC / "index.html", headers=_page_headers(services.public_url))

    install(api)
    return api


def _page_headers(public_url: str | None) -> dict[str, str]:
    """Return what keeps the page to its own scripts, and out of other people's frames, whatever a file is called."""
    sent_to = "'self'" if public_url is None else f"'self' {public_url}/uploads/"
    return {
        "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        f"connect-src {sent_to}; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
    }
