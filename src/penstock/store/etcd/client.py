"""Talks to etcd: several nodes of which some may be away, a login whose token expires, and a limit for every call."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Final, Self, TypeVar

import aiohttp
import msgspec

from ..base import RecordRefused, StoreUnavailable
from . import wire

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta
    from ssl import SSLContext

    from .wire import Part

T = TypeVar("T")

_AT_ONCE: Final = 64
"""Calls that are under way; more wait for their turn."""
_CONNECT_SECONDS: Final = 2.0
"""A node that has not taken a connection by then is passed over, as the Go services do."""

_LARGE_BYTES: Final = 2**19
"""Requests of this size are sent piece by piece, so that others get their turn."""

# The numbers of gRPC for what we act on.
_DEADLINE_EXCEEDED, _FAILED_PRECONDITION, _UNAVAILABLE = 4, 9, 14
_LOGIN_NEEDED: Final = (
    "etcdserver: invalid auth token",
    "etcdserver: revision of auth store is old",
    "etcdserver: user name is empty",
)
_TOO_LARGE: Final = ("etcdserver: request is too large", "message larger than max")


class EtcdRefused(StoreUnavailable):
    """etcd has answered, and does not do it: wrong login, no permission, no space. Nothing was written."""

    def __init__(self, node: str, refusal: wire.Refusal) -> None:
        self.reason = refusal.message or refusal.error
        self.status = refusal.code
        super().__init__(f"etcd at {node} refuses: {self.reason}")


class _NoAnswer(Exception):
    """A node did not answer, or says that it cannot."""

    def __init__(self, reason: str, *, not_done: bool) -> None:
        super().__init__(reason)
        self.not_done = not_done
        """Whether it is certain that the node has done nothing."""


class EtcdClient:
    """One cluster, open while the context is.

    Args:
        nodes: URLs that begin with `http://` or `https://`, all of one cluster.
        tls: what TLS is spoken with, where a URL asks for it.
        username: who logs in; empty for nobody. Where etcd asks nobody to log in, it is not used.
        password: of that user.
        timeout: limit for a call, all nodes that are tried for it included.
    """

    def __init__(
        self, nodes: Sequence[str], *, tls: SSLContext | None, username: str, password: str, timeout: timedelta
    ) -> None:
        self._nodes = list(nodes)
        self._tls = tls
        self._current = 0
        self._username = username
        self._password = password
        self._timeout = timeout.total_seconds()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._token: str | None = None if username else ""
        """Empty where none is needed, None while that is not known."""
        self._login = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None

    def __str__(self) -> str:
        return ", ".join(self._nodes)

    async def __aenter__(self) -> Self:
        seconds = self._timeout / len(self._nodes)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._tls or True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=min(_CONNECT_SECONDS, seconds)),
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def range(self, start: bytes, end: bytes, *, limit: int, keys_only: bool = False) -> wire.Range:
        """Read at most `limit` keys from `start` to before `end`, as they are after every finished change.

        Raises:
            StoreUnavailable: no node has answered in time.
        """
        request = wire.range_of(start, end, limit=limit, keys_only=keys_only)
        return await self._call("kv/range", request, wire.RANGE, repeatable=True)

    async def read(self, *gets: Part) -> list[wire.Range]:
        """Carry out several reading operations on one state.

        Raises:
            StoreUnavailable: no node has answered in time.
        """
        txn = await self._call("kv/txn", wire.transaction((), gets), wire.TXN, repeatable=True)
        return txn.ranges

    async def write(self, compare: Sequence[Part], success: Sequence[Part], failure: Sequence[Part] = ()) -> wire.Txn:
        """Carry out a transaction that changes something. It is sent to one node only, unless that is not reached.

        Raises:
            StoreUnavailable: no answer in time. It may or may not have been carried out.
            RecordRefused: it is more than etcd takes; nothing was written.
        """
        return await self._call("kv/txn", wire.transaction(compare, success, failure), wire.TXN, repeatable=False)

    async def _call(self, path: str, request: Part, decoder: msgspec.json.Decoder[T], *, repeatable: bool) -> T:
        body = wire.encode(request)
        async with self._turns:
            try:
                async with asyncio.timeout(self._timeout):
                    answer = await self._from_some_node(path, body, repeatable=repeatable)
            except TimeoutError as error:
                raise StoreUnavailable(f"etcd at {self}: no answer within {self._timeout:g} s") from error
        try:
            return decoder.decode(answer)
        except msgspec.DecodeError as error:
            raise StoreUnavailable(f"etcd at {self}: not an answer of etcd: {error}") from error

    async def _from_some_node(self, path: str, body: bytes, *, repeatable: bool) -> bytes:
        """Ask one node after the other, beginning with the one that answered last, which gets a second chance."""
        trouble: _NoAnswer | None = None
        for _ in range(len(self._nodes) + 1):
            number = self._current
            try:
                return await self._from(self._nodes[number], path, body)
            except _NoAnswer as error:
                trouble = error
                if self._current == number:  # others may have moved on already
                    self._current = (number + 1) % len(self._nodes)
                if not (repeatable or error.not_done):
                    break
        raise StoreUnavailable(f"etcd at {self}: {trouble}") from trouble

    async def _from(self, node: str, path: str, body: bytes) -> bytes:
        token = await self._log_in(node, instead_of=None) if self._token is None else self._token
        try:
            return await self._post(node, path, body, token)
        except EtcdRefused as refused:
            if not self._username or not refused.reason.startswith(_LOGIN_NEEDED):
                raise
            # Tokens expire, and are forgotten by a node that was restarted. What was asked for has not been done.
            token = await self._log_in(node, instead_of=token)
            return await self._post(node, path, body, token)

    async def _log_in(self, node: str, *, instead_of: str | None) -> str:
        """Return a token that is newer than `instead_of`; empty where none is needed."""
        async with self._login:
            if self._token is not None and self._token != instead_of:  # somebody else has got one meanwhile
                return self._token
            body = wire.encode({"name": self._username, "password": self._password})
            try:
                token = wire.TOKEN.decode(await self._post(node, "auth/authenticate", body, "")).token
            except EtcdRefused as refused:
                if refused.status != _FAILED_PRECONDITION:
                    raise
                token = ""  # authentication is not enabled
            self._token = token
            return token

    async def _post(self, node: str, path: str, body: bytes, token: str) -> bytes:
        if self._session is None:
            raise StoreUnavailable(f"etcd at {self} is not open")
        headers = {"Authorization": token} if token else None
        data = body if len(body) < _LARGE_BYTES else io.BytesIO(body)
        try:
            async with self._session.post(f"{node}/v3/{path}", data=data, headers=headers) as response:
                answer = await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise _NoAnswer(f"{node} is not reached: {error}", not_done=True) from error
        except aiohttp.InvalidURL as error:
            raise _NoAnswer(f"{node} is no address: write host:port", not_done=True) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _NoAnswer(f"{node} did not answer: {str(error) or type(error).__name__}", not_done=False) from error
        if response.status == 200:
            return answer
        raise _trouble(node, response.status, answer)


def _trouble(node: str, status: int, answer: bytes) -> Exception:
    """Return what to raise for an answer that is an error."""
    try:
        refusal = wire.REFUSAL.decode(answer)
    except msgspec.DecodeError:
        return _NoAnswer(f"{node} answers with HTTP status {status}", not_done=False)
    if refusal.code in (_UNAVAILABLE, _DEADLINE_EXCEEDED):
        return _NoAnswer(f"{node} says: {refusal.message or refusal.error}", not_done=False)
    refused = EtcdRefused(node, refusal)
    if any(text in refused.reason for text in _TOO_LARGE):
        return RecordRefused(f"etcd at {node}: {refused.reason}. Its limit is its option --max-request-bytes.")
    return refused
