"""What can be told about an address of the web, and done with it, without asking it.

The address of an upload carries its own permission: a token in its path, or a signature over all of it.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, urljoin, urlsplit

_PORTS: Final = {"http": 80, "https": 443}
_SENT_AS_IT_IS: Final = "!#$%&'()*+,/:;=?@[\\]^|~"


def is_web_address(url: str) -> bool:
    """Tell whether this is an address that can be asked."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in _PORTS and bool(parts.hostname)


def server_of(url: str) -> str:
    """Return what of an address may be shown: not its path, which carries the permission."""
    return urlsplit(url).netloc.rpartition("@")[2]


def origin_of(url: str) -> tuple[str, str | None, int | None]:
    """Return who is asked: scheme, host and port.

    Raises:
        ValueError: this is no address.
    """
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def moved_to(url: str, location: str) -> str:
    """Return the address that a server sends us to.

    Args:
        url: what was asked.
        location: what was said: an address, or the rest of one.

    Raises:
        ValueError: it is none that can be asked.
    """
    found = urljoin(url, location)
    if not is_web_address(found):
        raise ValueError("no address of the web")
    return found


def path_and_query(url: str) -> tuple[str, str]:
    """Return what a server is asked for, letter by letter as in the address, over which it may want a signature.

    Only what no request can carry, such as a space, is encoded.

    Raises:
        ValueError: there are control characters in it.
    """
    if any(character.isascii() and not character.isprintable() for character in url):
        raise ValueError("control characters")
    parts = urlsplit(url)
    return quote(parts.path, safe=_SENT_AS_IT_IS) or "/", quote(parts.query, safe=_SENT_AS_IT_IS)
