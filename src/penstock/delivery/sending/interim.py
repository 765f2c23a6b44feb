"""Answers that do not wait for ever behind interim ones (1xx).

aiohttp passes over as many as come, and nothing else is done while more are there: a worker that says `103` again and
again would hold up the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp

if TYPE_CHECKING:
    from aiohttp.connector import Connection

_INTERIM: Final = 20
"""So many are passed over: one or two is what there is."""


class FewInterim(aiohttp.ClientResponse):
    """An answer before which there were not too many others."""

    async def start(self, connection: Connection) -> Self:
        """Wait for it; called by aiohttp.

        Raises:
            ClientPayloadError: there were.
        """
        protocol: Any = connection.protocol
        read, passed_over = protocol.read, 0

        async def counted() -> Any:
            nonlocal passed_over
            passed_over += 1
            if passed_over > _INTERIM + 1:
                raise aiohttp.ClientPayloadError("too many interim answers")
            return await read()

        protocol.read = counted
        try:
            await super().start(connection)
        finally:
            del protocol.read
        return self
