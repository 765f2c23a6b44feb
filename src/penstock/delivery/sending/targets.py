"""Where files may be pushed to: out into the world, and to what the operator names; never by accident to ourselves.

A name is looked up once, every address that it has is checked, and the connection is made to one of them: what the
name means a moment later (DNS rebinding) does not matter. It is the address that counts, not how it is written:
`0x7f.1`, `2130706433` and `::ffff:127.0.0.1` are 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final, TypeAlias

from ...errors import ConfigurationError, PenstockError, Unavailable

Address: TypeAlias = IPv4Address | IPv6Address
LookUp: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a host."""

_METADATA: Final = frozenset({IPv4Address("168.63.129.16")})
"""Addresses that look public and are not: Azure's host."""
_PROTOCOLS: Final = IPv4Network("192.0.0.0/24")
"""For protocols of the IETF; older Pythons take most of it for global."""
_NAT64: Final = IPv6Network("64:ff9b::/96")
_COMPATIBLE: Final = IPv6Network("::/96")
_LOOK_UP_SECONDS: Final = 10.0


class TargetRefused(PenstockError):
    """Nothing may be sent there; nothing was."""

    code = "target-refused"


class TargetUnknown(Unavailable):
    """The host has no address right now."""

    code = "target-unknown"


async def look_up(host: str, port: int) -> Sequence[str]:
    """Ask the system for the addresses of a host."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Targets:
    """Tells where something may be sent to.

    Args:
        allowed: hosts, addresses and networks that may be sent to though they are not out in the world.
        resolve: looks hosts up.

    Raises:
        ConfigurationError: what looks like a network is none.
    """

    def __init__(self, allowed: Sequence[str] = (), *, resolve: LookUp = look_up) -> None:
        self._hosts = set[str]()
        self._networks: list[IPv4Network | IPv6Network] = []
        for word in allowed:
            self._allow(word)
        self._resolve = resolve

    async def addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses that may be connected to, the best one first; all of the host's were checked.

        Raises:
            TargetRefused: it must not be.
            TargetUnknown: there is none right now.
        """
        try:
            async with asyncio.timeout(_LOOK_UP_SECONDS):
                found = await self._resolve(host, port)
        except (OSError, UnicodeError, TimeoutError) as error:
            raise TargetUnknown(f"{host} has no address: {str(error) or 'nobody answered in time'}") from error
        if not found:
            raise TargetUnknown(f"{host} has no address")
        if host.lower().rstrip(".") not in self._hosts:
            for text in found:
                self._check(host, text)
        return list(found)

    def check_written(self, host: str) -> None:
        """Refuse a host that is written as an address and may not be sent to, before anything is sent.

        Raises:
            TargetRefused: it is one.
        """
        try:
            ip_address(host)
        except ValueError:
            return
        self._check(host, host)

    def _check(self, host: str, text: str) -> None:
        address = unwrapped(ip_address(text))
        if is_public(address) or any(address in network for network in self._networks):
            return
        named = host if host == text else f"{host} ({text})"
        raise TargetRefused(
            f"{named} is not out in the world, so nothing is pushed there. If it is a worker of yours, "
            f"allow it: PENSTOCK_DELIVERY_PUSH_ALLOW={host}"
        )

    def _allow(self, word: str) -> None:
        try:
            self._networks.append(ip_network(word.strip("[]")))
        except ValueError:
            if "/" in word or not word.isascii():
                raise ConfigurationError(
                    f"delivery_push_allow: {word!r} is neither a host nor a network such as 10.0.0.0/8."
                ) from None
            self._hosts.add(word.lower().rstrip("."))


def unwrapped(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address only carries, if it does."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_public(address: Address) -> bool:
    """Tell whether an address is anybody's in the world: not private, local, reserved, or of a cloud's inside."""
    if isinstance(address, IPv6Address) and (address.is_site_local or address.teredo is not None):
        return False
    if isinstance(address, IPv4Address) and address in _PROTOCOLS:
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved and address not in _METADATA
