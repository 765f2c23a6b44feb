"""Opens a connection and keeps it."""

from __future__ import annotations

import asyncio
import random
import ssl
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog
from nats import errors

from ..errors import ConfigurationError
from .client import NatsClient, NoTls, next_server
from .servers import NatsUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .servers import NatsServers

log = structlog.get_logger(__name__)

PATIENCE: Final = timedelta(seconds=15)
"""How long to wait for the first connection."""
_CONNECT_SECONDS: Final = 5
_PING_SECONDS: Final = 5
"""A server that has not answered three of these pings is given up for another connection."""
_FLUSH_SECONDS: Final = 2
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0


@asynccontextmanager
async def connect(servers: NatsServers, *, name: str, patience: timedelta = PATIENCE) -> AsyncIterator[NatsClient]:
    """Be connected to one of `servers`, whatever happens, until the context is left.

    A lost connection is made anew for ever, to whichever endpoint answers, and subscriptions go on on it. What is
    published meanwhile waits in a buffer of 2 MiB, and then fails. Losses and reconnections are logged.

    Args:
        servers: where they are.
        name: what the server shows for this connection, such as `postprocessing`.
        patience: how long to wait for the first connection.

    Raises:
        ConfigurationError: every endpoint that answered refuses us: wrong user, password or certificate, no TLS.
        NatsUnavailable: none answered within `patience`.
    """
    context = servers.ssl_context()
    if bool(servers.username) != bool(servers.password):
        log.warning("nats_credentials_ignored", hint="a user name counts only together with a password")
    client = await _first(servers, context, name, patience)
    try:
        yield client
    finally:
        await _close(client)


async def _first(servers: NatsServers, context: ssl.SSLContext | None, name: str, patience: timedelta) -> NatsClient:
    """Connect for the first time, trying all endpoints again and again."""
    pause = _FIRST_PAUSE_SECONDS
    refusals: dict[str, Exception] = {}
    try:
        async with asyncio.timeout(patience.total_seconds()):
            while True:
                refusals = {}
                for url in random.sample(servers.urls, len(servers.urls)):
                    try:
                        return await _open(servers, url, context, name)
                    except (OSError, errors.Error) as error:
                        refusals[url] = error
                _raise_if_wrong(servers, list(refusals.values()))
                log.warning("nats_not_reachable", servers=str(servers), error=_told(refusals))
                await asyncio.sleep(pause)
                pause = min(_LONGEST_PAUSE_SECONDS, 2 * pause)
    except TimeoutError as error:
        raise NatsUnavailable(
            f"NATS at {servers}: no connection within {patience.total_seconds():g} s"
            f"{': ' + _told(refusals) if refusals else ''}. Start the server, or correct the endpoint."
        ) from error


class _Watched:
    """A client whose losses and reconnections are logged."""

    def __init__(self, servers: NatsServers, name: str) -> None:
        self.client = NatsClient(wants_tls=servers.wants_tls)
        self.failures: list[Exception] = []
        """What went wrong before it was connected for the first time."""
        self._servers = servers
        self._name = name

    async def failed(self, error: Exception) -> None:
        if self.client.options["allow_reconnect"]:
            log.warning("nats_error", servers=str(self._servers), error=str(error) or type(error).__name__)
        else:
            self.failures.append(error)

    async def disconnected(self) -> None:
        if not self.client.is_closed:
            log.warning("nats_disconnected", servers=str(self._servers), connection=self._name)

    async def reconnected(self) -> None:
        url = self.client.connected_url
        log.info("nats_reconnected", server=url.netloc.rpartition("@")[2] if url else "", connection=self._name)
        for call in tuple(self.client.on_reconnected):
            call()


async def _open(servers: NatsServers, url: str, context: ssl.SSLContext | None, name: str) -> NatsClient:
    """Connect to one endpoint, and make the client keep the connection."""
    watched = _Watched(servers, name)
    client = watched.client
    both = servers.username and servers.password
    try:
        await client.connect(
            servers=[url],
            name=name,
            tls=context,
            user=servers.username if both else None,
            password=servers.password if both else None,
            error_cb=watched.failed,
            disconnected_cb=watched.disconnected,
            reconnected_cb=watched.reconnected,
            reconnect_to_server_handler=next_server,
            connect_timeout=_CONNECT_SECONDS,
            ping_interval=_PING_SECONDS,
            flush_timeout=_FLUSH_SECONDS,
            # One try at this endpoint; what follows a loss is set below.
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
        )
    except BaseException as error:
        client.abort()
        if isinstance(error, errors.NoServersError) and watched.failures:
            raise watched.failures[-1] from error
        raise
    client.options["allow_reconnect"] = True
    client.options["max_reconnect_attempts"] = -1
    client.set_server_pool(list(servers.urls))
    return client


async def _close(client: NatsClient) -> None:
    """Send what is waiting, if there is anybody to send it to, and close."""
    try:
        if client.is_connected:
            await client.flush(_FLUSH_SECONDS)
    except (OSError, errors.Error) as error:
        log.warning("nats_not_flushed", error=str(error) or type(error).__name__)
    finally:
        await client.close()


def _raise_if_wrong(servers: NatsServers, refusals: list[Exception]) -> None:
    """Say what has to be corrected, if every endpoint answered and refused.

    Raises:
        ConfigurationError: waiting would not help.
    """
    wrongs = [_wrong(servers, refusal) for refusal in refusals]
    if all(wrongs):
        raise ConfigurationError(f"NATS at {servers}: {wrongs[0]}") from refusals[0]


def _wrong(servers: NatsServers, refusal: Exception) -> str:
    """Return what is wrong with the settings; empty when it may be the server, or the network."""
    if isinstance(refusal, NoTls):
        return "TLS is asked for, and the server offers none. Turn TLS off, or on in the server."
    if isinstance(refusal, ssl.SSLCertVerificationError):
        believed = servers.tls_ca_file or "the system's authorities"
        return (
            f"{believed} did not sign its certificate ({refusal.verify_message}). Name the root certificate that did."
        )
    if "authorization violation" in str(refusal).lower():
        who = f"user {servers.username!r}" if servers.username and servers.password else "a client without a user"
        return f"{who} is refused. Correct user name and password."
    return ""


def _told(refusals: dict[str, Exception]) -> str:
    return "; ".join(str(error) or type(error).__name__ for error in refusals.values())
