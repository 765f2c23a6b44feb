"""One Redis, asked with a time limit; what goes wrong comes out as the errors of the port."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import structlog
from redis.asyncio import Redis, SSLConnection
from redis.asyncio.connection import Connection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    NoScriptError,
    RedisError,
    ResponseError,
)

from ...errors import ConfigurationError
from ..base import StoreUnavailable
from ..layout import BadRecord

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import timedelta

    from .addresses import Address
    from .scripts import Script

log = structlog.get_logger(__name__)

_AT_ONCE: Final = 16
"""Connections, and so calls at a time. Redis does one thing after the other anyway; the rest waits its turn here."""
_REFUSALS: Final = (AuthenticationError, AuthorizationError, NoPermissionError)


class Server:
    """Runs commands and scripts. Connections are made when needed, and made again when they are lost.

    Nothing is tried twice in secret: what may or may not have happened is `StoreUnavailable`, and its caller decides.
    """

    def __init__(self, client: Redis, name: str, timeout: timedelta) -> None:
        self.client = client
        self.name = name
        self._seconds = timeout.total_seconds()
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def open(self) -> None:
        """See whether the server lets us in, and warn where it is set up to forget.

        Raises:
            ConfigurationError: it does not let us in.
            StoreUnavailable: it does not answer.
        """
        async with self._answering(opening=True):
            await self.client.ping()
            await self._greet()
        async with self._answering():
            await self._warn()

    async def close(self) -> None:
        """End all connections, without waiting for long for a server that stands still."""
        with suppress(TimeoutError, RedisError, OSError):
            async with asyncio.timeout(self._seconds):
                await self._close()

    async def _close(self) -> None:
        await self.client.aclose()

    async def command(self, *words: bytes | str | int) -> Any:
        """Run one command, and return the answer."""
        async with self._answering():
            return await self._execute(*words)

    async def read(self, script: Script, keys: Sequence[bytes], *arguments: bytes | int) -> Any:
        """Run a script whose effect, if it has one, nobody relies on."""
        async with self._answering():
            return await self._run(script, keys, arguments)

    async def fetch(self, key: bytes, prefix: bytes) -> bytes | None:
        """Return what lies under a key; `prefix` is that of what is ours."""
        del prefix
        found: bytes | None = await self.command("GET", key)
        return found

    async def change(self, script: Script, keys: Sequence[bytes], *arguments: bytes | int) -> Any:
        """Run a script that changes records. When this returns, the change is as safe as this server can make it."""
        return await self.read(script, keys, *arguments)

    async def _greet(self) -> None:
        """Look once at what the answers of an opened server depend on."""

    async def _run(self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes | int]) -> Any:
        rest = (len(keys), *keys, *arguments)
        try:
            return await self._execute("EVALSHA", script.name, *rest)
        except NoScriptError:  # the first time, and after each start of the server
            return await self._execute("EVAL", script.source, *rest)

    async def _execute(self, *words: bytes | str | int) -> Any:
        return await self.client.execute_command(*words)  # type: ignore[no-untyped-call]

    @asynccontextmanager
    async def _answering(self, *, opening: bool = False) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._seconds), self._turns:
                yield
        except TimeoutError as error:
            raise StoreUnavailable(f"{self.name} did not answer within {self._seconds:g} s") from error
        except (RedisError, OSError) as error:
            raise self._translated(error, opening=opening) from error

    def _translated(self, error: Exception, *, opening: bool) -> Exception:
        if str(error).startswith("WRONGTYPE"):
            return BadRecord(f"not a record of postprocessing: another kind of value ({self.name}: {error})")
        refused = isinstance(error, _REFUSALS) or (isinstance(error, ResponseError) and "DB index" in str(error))
        if opening and refused:
            return ConfigurationError(
                f"{self.name} refuses us: {str(error).rstrip('.')}. Look at user, password and number of the database "
                "in POSTPROCESSING_STORE_NODES, POSTPROCESSING_STORE_AUTH_USERNAME and …_PASSWORD."
            )
        return StoreUnavailable(f"{self.name}: {error}")

    async def _warn(self) -> None:
        """Tell of settings of the server with which it forgets what it has confirmed."""
        try:
            persistence, memory = await self.client.info("persistence"), await self.client.info("memory")
        except ResponseError as error:  # not everybody may ask
            log.info("redis_settings_not_shown", server=self.name, error=str(error))
            return
        if not int(persistence.get("aof_enabled", 1)):
            hint = "set 'appendonly yes' there: without it the latest records are gone when it dies"
            log.warning("redis_without_append_only_file", server=self.name, hint=hint)
        policy = memory.get("maxmemory_policy", "noeviction")
        if int(memory.get("maxmemory", 0)) and policy != "noeviction":
            hint = "set 'maxmemory-policy noeviction' there: it throws records away when its memory is full"
            log.warning("redis_evicts", server=self.name, policy=policy, hint=hint)


def connecting(address: Address) -> dict[str, Any]:
    """Return the arguments of a connection to `address`, without host and port.

    The client's own time limits are switched off: they cost a task for each command, in which, until Python 3.12, a
    cancellation may get lost. Whoever uses the connection sets one around the whole.
    """
    return {
        "db": address.db,
        "username": address.username or None,
        "password": address.password or None,
        "socket_timeout": None,
        "socket_connect_timeout": None,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }


def single(address: Address, timeout: timedelta) -> Server:
    """Return the one server at `address`; not connected yet."""
    options = connecting(address)
    if address.tls:
        options |= certified(address)
    kind = SSLConnection if address.tls else Connection
    pool = ConnectionPool(connection_class=kind, host=address.host, port=address.port, **options)
    return Server(Redis.from_pool(pool), f"redis at {address.name}", timeout)


def certified(address: Address) -> dict[str, Any]:
    """Return the arguments of an encrypted connection."""
    if address.verify:
        believed = {} if address.ca_file is None else {"ssl_ca_certs": str(address.ca_file)}
        return {"ssl_cert_reqs": "required", "ssl_check_hostname": True, **believed}
    return {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
