"""Kinds of settings that say whom to believe: proxies by their network, pages by their origin, names of our own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import urlsplit

from .kinds import Several, Words

if TYPE_CHECKING:
    from pathlib import Path

Network: TypeAlias = IPv4Network | IPv6Network
_HOST_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*", re.ASCII)


@dataclass(frozen=True)
class Networks(Several[Network]):
    """Addresses and networks."""

    form: str = "list of addresses and networks, separated by commas"
    empty_is_value: bool = True

    def from_text(self, text: str, folder: Path) -> tuple[Network, ...]:
        """Take `10.0.0.0/8`, `::1` and the like."""
        return tuple(_network(word) for word in Words().from_text(text, folder))


@dataclass(frozen=True)
class Origins(Several[str]):
    """Origins of web pages (RFC 6454), or `*` for all."""

    form: str = "list of origins, separated by commas, or `*`"
    empty_is_value: bool = True

    def from_text(self, text: str, folder: Path) -> tuple[str, ...]:
        """Take `https://app.example.org` and the like, or `*` alone."""
        origins = Words().from_text(text, folder)
        if origins == ("*",):
            return origins
        for origin in origins:
            _check_origin(origin)
        return tuple(origin.lower() for origin in origins)


@dataclass(frozen=True)
class HostNames(Several[str]):
    """Names of a server, without a port; or `*` for all."""

    form: str = "list of host names, separated by commas, or `*`"
    empty_is_value: bool = True

    def from_text(self, text: str, folder: Path) -> tuple[str, ...]:
        """Take `files.example.org` and the like, or `*` alone."""
        names = tuple(word.lower().rstrip(".") for word in Words().from_text(text, folder))
        if names == ("*",):
            return names
        for name in names:
            if not _HOST_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a host name. Write it like files.example.org, without a port; or *.")
        return names


def _network(word: str) -> Network:
    try:
        return ip_network(word)
    except ValueError as error:
        raise ValueError(f"{error}. Write an address, or a network such as 10.0.0.0/8.") from error


def _check_origin(origin: str) -> None:
    try:
        parts = urlsplit(origin)
        well_formed = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
        well_formed = well_formed and origin.partition("://")[2] == parts.netloc and "@" not in origin
    except ValueError:
        well_formed = False
    if not well_formed:
        raise ValueError(f"{origin!r} is not an origin. Write it like https://app.example.org, without a path; or *.")
