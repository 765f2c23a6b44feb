"""Where a file is to be moved or copied: the `Destination` header (RFC 4918, 10.3), if it is an address of ours.

It is an address or a path, as the client sees it: with the prefix under which a proxy shows us. Some proxies rewrite
it, as they do with the path of the request itself, others leave it; so both are understood. The scheme is not compared:
proxies that end TLS, and are not trusted, leave us with the wrong one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, parse_qs, quote, urlencode, urlsplit

from ..uploads.errors import BadHeader
from ..uploads.places import Place
from .problems import ForeignDestination
from .put import name_of, space_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .asgi import Scope

_ROOT: Final = "/files/"
_PORTS: Final = {"http": {80}, "https": {443}}
_DEFAULT: Final = {80, 443}
"""Of `Host`, which does not name the scheme."""


def destination_of(headers: Mapping[str, str], space: str, base: str) -> Place:
    """Return where a file is to be, as the header says; in the same space unless it names one.

    Args:
        headers: the request's.
        space: that of the file which is to be moved or copied.
        base: under which address the client knows us, with a prefix if there is one; empty: that is not known.

    Raises:
        ForeignDestination: it is an address, and none of ours.
        BadHeader, UnsafeName: it is missing, or no place for a file here.
    """
    header = headers.get("destination", "").strip()
    try:
        said, public, here = urlsplit(header), urlsplit(base), urlsplit(f"//{headers.get('host', '')}")
        ours = [one for one in (public, here) if not said.netloc or _is_there(said, one)]
    except ValueError as error:
        raise BadHeader("Destination: no address. Say where the file is to be, below /files/.") from error
    if not ours:
        raise ForeignDestination(
            f"Destination: {header[:200]} is not on this server, which is {base or 'none that it could know'}. Files "
            "can only be moved and copied within it."
        )
    path = next((said.path[len(one.path) :] for one in ours if said.path.startswith(f"{one.path}{_ROOT}")), None)
    if path is None or (said.scheme and not said.netloc):
        raise BadHeader(f"Destination: missing, or no address below {public.path}{_ROOT}. Say where the file is to be.")
    target: Scope = {"path": path, "raw_path": path.encode("latin-1"), "query_string": said.query.encode()}
    there = space_of(target) if "space" in parse_qs(said.query, keep_blank_values=True) else space
    return Place.of(there, name_of(target))


def address_of(place: Place, base: str) -> str:
    """Return the address of a file."""
    space = "" if place.space == "default" else f"?{urlencode({'space': place.space})}"
    return f"{base}{_ROOT}{quote(place.path)}{space}"


def _is_there(said: SplitResult, server: SplitResult) -> bool:
    return said.scheme in ("", *_PORTS) and _server_of(said) == _server_of(server)


def _server_of(address: SplitResult) -> tuple[str | None, int | None]:
    """Return host and port; None for the port that need not be named."""
    return address.hostname, None if address.port in _PORTS.get(address.scheme, _DEFAULT) else address.port
