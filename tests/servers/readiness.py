"""Asks a service whether it is ready, at next to no cost: while it starts, it needs the machine more than we do.

(`httpx.get` reads all certificates of the system for each question, 25 ms of CPU time.)
"""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException


def is_ready(port: int, *, timeout_seconds: float = 5) -> bool:
    """Tell whether `/readyz` on a port of 127.0.0.1 is answered with 200."""
    connection = HTTPConnection("127.0.0.1", port, timeout=timeout_seconds)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
