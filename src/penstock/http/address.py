"""Under which address the client knows this server: the base of the URLs that it is told."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Network, IPv6Network

    from .asgi import Scope

_HOST: Final = re.compile(r"[A-Za-z0-9._~-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?", re.ASCII)
_PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~-]+)*", re.ASCII)
_PAIR: Final = re.compile(r'\s*(?P<name>[A-Za-z]+)=(?:"(?P<quoted>[^"\\]*)"|(?P<token>[^\s";,]*))\s*', re.ASCII)


class PublicAddress:
    """Tells the address.

    Args:
        public_url: the address, where the operator has said it; None: as each request names it.
        trusted_proxies: whose word counts for what a request was before it came to them: of others, what they write
            into `Forwarded` and `X-Forwarded-…` is not looked at, since anybody can.
    """

    def __init__(self, public_url: str | None, trusted_proxies: Sequence[IPv4Network | IPv6Network] = ()) -> None:
        self._public_url = None if public_url is None else public_url.rstrip("/")
        self._trusted = tuple(trusted_proxies)

    def base(self, scope: Scope, headers: Mapping[str, str]) -> str:
        """Return scheme, host and path prefix, without a slash at the end.

        Empty, for a relative URL, when the request names no proper host.
        """
        if self._public_url is not None:
            return self._public_url
        scheme, host, prefix = scope.get("scheme", "http"), headers.get("host", ""), ""
        if is_trusted(self._trusted, scope.get("client")):
            said = forwarded(headers)
            scheme, host, prefix = said.scheme or scheme, said.host or host, said.prefix
        return f"{scheme}://{host}{prefix}" if _HOST.fullmatch(host) else ""


def is_trusted(proxies: Sequence[IPv4Network | IPv6Network], client: Sequence[object] | None) -> bool:
    """Tell whether a request comes from one of the proxies; `client` is who it comes from, as ASGI has it."""
    try:
        peer = ip_address(str(client[0])) if client and proxies else None
    except ValueError:
        return False
    return peer is not None and any(peer in network for network in proxies)


class Forwarded(NamedTuple):
    """What a proxy says of the request that came to it; empty: nothing."""

    scheme: str
    host: str
    prefix: str


def forwarded(headers: Mapping[str, str]) -> Forwarded:
    """Read `Forwarded` (RFC 7239), and `X-Forwarded-Proto`, `-Host` and `-Prefix`.

    Each proxy adds its word at the end. Ours is the last, and what counts is what it says; what it does not say is not
    taken from those before it, who may be anybody. A proxy that writes one kind lets the other pass as its client wrote
    it: where the two are at odds, neither counts.
    """
    pairs = _last_element(headers.get("forwarded", ""))
    new = Forwarded(_scheme(pairs.get("proto", "")), _host(pairs.get("host", "")), "")
    last = {name: headers.get(f"x-forwarded-{name}", "").rpartition(",")[2].strip() for name in ("proto", "host")}
    prefix = headers.get("x-forwarded-prefix", "").rstrip("/")
    old = Forwarded(_scheme(last["proto"]), _host(last["host"]), prefix if _PREFIX.fullmatch(prefix) else "")
    if "forwarded" not in headers:
        return old
    if any(last.values()) and old[:2] != new[:2]:
        return Forwarded("", "", "")
    return Forwarded(new.scheme, new.host, old.prefix)


def _last_element(header: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    at = 0
    while at < len(header):
        pair = _PAIR.match(header, at)
        if pair is None:
            return {}
        pairs[pair["name"].lower()] = pair["quoted"] if pair["quoted"] is not None else pair["token"]
        at = pair.end()
        if header[at : at + 1] == ",":
            pairs = {}
        elif at < len(header) and header[at] != ";":
            return {}
        at += 1
    return pairs


def _scheme(text: str) -> str:
    return text.lower() if text.lower() in {"http", "https"} else ""


def _host(text: str) -> str:
    return text if _HOST.fullmatch(text) else ""
