"""Who sends a request: the user whom a trusted proxy names, or nobody that we know."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ..uploads.errors import BadHeader
from .address import is_trusted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Network, IPv6Network

    from .asgi import Scope

_NAME: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,200}")


class Callers:
    """Tells who it is.

    Args:
        header: in which the user is named; empty: users have no names.
        trusted_proxies: whose word counts. What others write into the header is not looked at, since anybody can.
    """

    def __init__(self, header: str, trusted_proxies: Sequence[IPv4Network | IPv6Network]) -> None:
        self._header = header.lower()
        self._trusted = tuple(trusted_proxies)

    def owner(self, scope: Scope, headers: Mapping[str, str]) -> str:
        """Return the user; empty: nobody is named.

        Raises:
            BadHeader: the name is too long, or not printable.
        """
        if not self._header or not is_trusted(self._trusted, scope.get("client")):
            return ""
        name = _text(headers.get(self._header, "").strip())
        if name and not _NAME.fullmatch(name):
            raise BadHeader(
                f"{self._header}: {name[:80]!r} cannot be a user: a name has 1 to 200 characters, and no control "
                "characters. Correct what the proxy sends."
            )
        return name


def _text(value: str) -> str:
    """Return a header's value as UTF-8, if it is that."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeDecodeError:
        return value
