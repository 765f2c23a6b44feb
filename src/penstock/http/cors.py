"""Which web pages of other origins may upload from a browser, and what they may see (Fetch, 3.3).

Only sending is open to them, and without credentials: to `/files/`, and to upload addresses, which cannot be guessed,
and which a page learns only from its own creation. What becomes of files that are there is not theirs to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_METHODS: Final = "OPTIONS, POST, PUT, HEAD, PATCH, DELETE"
SENDING: Final = "OPTIONS, POST, PUT"
"""What pages of other origins may do below `/files/`."""
_REQUEST_HEADERS: Final = ", ".join((
    *("Authorization", "Content-Type", "Initiator-ID", "Tus-Resumable", "Traceparent", "Tracestate"),
    *("If-Match", "If-None-Match", "If-Unmodified-Since"),
    *("Upload-Checksum", "Upload-Concat", "Upload-Defer-Length", "Upload-Length", "Upload-Metadata", "Upload-Offset"),
    *("Content-Digest", "Repr-Digest"),
    *("Content-Disposition", "Upload-Complete", "Upload-Draft-Interop-Version", "Upload-Incomplete"),
    *("X-HTTP-Method-Override", "X-Request-ID", "X-Requested-With"),
))  # fmt: skip
_RESPONSE_HEADERS: Final = ", ".join((
    *("Link", "Location", "Retry-After", "Want-Content-Digest", "Want-Repr-Digest"),
    *("Upload-Complete", "Upload-Draft-Interop-Version", "Upload-Incomplete", "Upload-Limit"),
    *("Tus-Checksum-Algorithm", "Tus-Extension", "Tus-Max-Size", "Tus-Resumable", "Tus-Version"),
    *("Upload-Concat", "Upload-Defer-Length", "Upload-Expires", "Upload-Length", "Upload-Metadata", "Upload-Offset"),
))  # fmt: skip
_REMEMBERED_SECONDS: Final = 86_400
"""For how long a browser need not ask again; most ask after two hours all the same."""


class Cors:
    """Answers browsers.

    Args:
        origins: those that may upload; `*` alone: all.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = frozenset(origins)
        self._all = "*" in self._origins

    def permits(self, origin: str) -> bool:
        """Return whether pages of an origin may upload, beside those of this server."""
        return self._all or origin.lower() in self._origins

    def headers(self, method: str, headers: Mapping[str, str], *, methods: str = _METHODS) -> dict[str, str]:
        """Return what is added to the answer to a request; nothing when no web page of a known origin has sent it.

        `methods` are those that such a page may use at this address.
        """
        origin = headers.get("origin")
        if origin is None:
            return {}
        if not self.permits(origin):
            return {"Vary": "Origin"}
        allowed = {"Access-Control-Allow-Origin": "*"}
        if not self._all:
            allowed = {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
        if method == "OPTIONS" and "access-control-request-method" in headers:
            return {
                **allowed,
                "Access-Control-Allow-Methods": methods,
                "Access-Control-Allow-Headers": _REQUEST_HEADERS,
                "Access-Control-Max-Age": str(_REMEMBERED_SECONDS),
            }
        return {**allowed, "Access-Control-Expose-Headers": _RESPONSE_HEADERS}


def is_foreign(origin: str, headers: Mapping[str, str], base: str) -> bool:
    """Tell whether a page of an origin is of another server than the one that the request came to, at `base`."""
    try:
        place = urlsplit(origin).netloc
    except ValueError:
        return True
    return place not in {headers.get("host", ""), urlsplit(base).netloc} - {""}
