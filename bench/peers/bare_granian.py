"""No server for uploads, but the least that one under granian can do: python bare_granian.py PORT FOLDER.

A creation is answered with an address, and the body of a PATCH is written to a file of that name: nothing is checked,
flushed, or remembered. granian's HTTP part is Rust, so this is a yardstick where a server cannot be installed that its
rate is known for.
"""

from __future__ import annotations

import os
import secrets
import sys
from typing import TYPE_CHECKING, Any, Final

from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_FOLDER: Final = "PENSTOCK_BENCH_FOLDER"
"""Names the folder to the process that granian starts for the application."""
_ROOT: Final = "/files/"


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer one request."""
    if scope["method"] == "POST":
        location = f"{_ROOT}{secrets.token_hex(16)}".encode()
        status, headers = 201, [(b"location", location), (b"content-length", b"0")]
    else:
        with open(os.environ[_FOLDER] + "/" + scope["path"].rpartition("/")[2], "wb") as file:  # noqa: ASYNC230
            more = True
            while more:
                message = await receive()
                file.write(message["body"])
                more = message["more_body"]
        status, headers = 204, [(b"upload-offset", b"10240")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body"})


def main() -> None:
    """Serve until ended."""
    port, os.environ[_FOLDER] = int(sys.argv[1]), sys.argv[2]
    Granian(
        "bare_granian:app", port=port, interface=Interfaces.ASGI, websockets=False, log_level=LogLevels.error
    ).serve()


if __name__ == "__main__":
    main()
