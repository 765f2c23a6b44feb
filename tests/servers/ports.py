"""Ports for servers that cannot choose one themselves."""

from __future__ import annotations

import os
import random
import socket
from typing import Final

_WORKERS: Final = 16
_WORKER: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
_RANGE: Final = range(10_240 + _WORKER, 32_768, _WORKERS)
"""Below those that the system gives to connections that go out: between the choice of a port and the moment when its
server listens, one of these may come, of any process here. Workers of pytest have different ones, so that none takes
the port of a server that another one is about to start again."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    return free_ports(1)[0]


def free_ports(number: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, and that nobody else who asks here gets for a minute.

    A server that is not ours may take one before the one that it is for does: try again with another then.
    """
    found = list[int]()
    while len(found) < number:
        port = random.choice(_RANGE)
        if _is_reserved(port):
            found.append(port)
    return found


def _is_reserved(port: int) -> bool:
    """Have the system keep a port, unless it is in use or kept already.

    It does so for a minute with one of whose connections our side has closed first (TIME_WAIT): only servers may have
    it, which all say SO_REUSEADDR, and nobody who tries it as we do.
    """
    with socket.socket() as listening, socket.socket() as client:
        try:
            listening.bind(("127.0.0.1", port))
        except OSError:
            return False
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what is left of it has to say so as well
        listening.listen(1)
        client.connect(listening.getsockname())
        listening.accept()[0].close()
        client.recv(1)
    return True
