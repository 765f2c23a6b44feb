"""Under which names this server answers: what keeps pages of strangers out that had their own name point here.

A browser lets a page read whatever comes from the page's own name. Whoever owns that name can have it point to this
machine once the page is loaded (DNS rebinding), and what the browser then sends looks like requests of our own page;
only `Host` still tells. An address in its place is one that nobody can have point elsewhere.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from .address import is_trusted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from ipaddress import IPv4Network, IPv6Network

_REMEMBERED: Final = 256


class Hosts:
    """Tells which names are ours.

    Args:
        listens: the address or name that the server listens at.
        named: names that the operator has given, `*` for all; with none, a server that others than this machine reach
            answers to all of them, since nobody has told it its own.
        urls: addresses of the server that the operator has given; the names in them are ours as well.
        trusted_proxies: who have looked at the name themselves.
    """

    def __init__(
        self,
        listens: str,
        named: Sequence[str] = (),
        urls: Iterable[str | None] = (),
        trusted_proxies: Sequence[IPv4Network | IPv6Network] = (),
    ) -> None:
        self._trusted = tuple(trusted_proxies)
        self._all = "*" in named or not (named or _is_this_machine(listens))
        said = (urlsplit(url).hostname for url in urls if url is not None)
        self._names = frozenset(name.lower() for name in (listens, *named, *said) if name)
        self._known: dict[str, bool] = {}

    def answers(self, host: str, client: Sequence[object] | None) -> bool:
        """Tell whether a request is answered; `host` is its `Host`, `client` who sends it, as ASGI has it."""
        if self._all:
            return True
        known = self._known.get(host)
        if known is None:
            known = self._is_ours(host)
            if len(self._known) < _REMEMBERED:
                self._known[host] = known
        return known or is_trusted(self._trusted, client)

    def _is_ours(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        return name in self._names or name == "" or _is_this_machine(name) or _is_address(name)


def _is_this_machine(name: str) -> bool:
    """Tell whether a name or address leads to the machine that uses it, whatever a name server says (RFC 6761, 6.3)."""
    if name.lower() == "localhost" or name.lower().endswith(".localhost"):
        return True
    return _is_address(name) and ip_address(name).is_loopback


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
