"""Ports for servers that cannot choose one themselves."""

from __future__ import annotations

import random
import socket

_RANGE = range(10_240, 32_768)
"""Below those that the system gives to connections that go out: between the choice of a port and the moment when its
server listens, one of these may come, of any process here."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    return free_ports(1)[0]


def free_ports(number: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, all of them different.

    Somebody may take one before the server does: try again with another then.
    """
    found = list[int]()
    while len(found) < number:
        port = random.choice(_RANGE)
        if port not in found and _is_free(port):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
