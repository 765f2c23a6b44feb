"""The master that sentinels name, which may become another one at any time."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog
from redis.asyncio import Redis
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool, SentinelManagedConnection
from redis.exceptions import AuthenticationError, NoScriptError, RedisError, ResponseError

from ..base import StoreUnavailable
from . import scripts
from .server import Server, certified, connecting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import timedelta

    from ...clock import Clock
    from .addresses import Address
    from .scripts import Script

log = structlog.get_logger(__name__)

_REPLICA_MILLISECONDS: Final = 1000
"""How long the replicas may take to confirm a change."""
_SENTINEL_SECONDS: Final = 1.0
"""How long one sentinel may take to answer before the next one is asked."""
_VIEW_SECONDS: Final = 1.0
"""How long what the sentinels have said is good for, where nothing speaks against it."""


class View(NamedTuple):
    """What the sentinels see."""

    master: tuple[str, int]
    """Host and port."""
    replicas: int
    """How many could take the master's place."""


class ReplicatedServer(Server):
    """The master. A change counts once every replica that could take its place has it: then no failover loses it.

    All of them, because sentinels choose the next master by its priority first; and how many there are is for the
    sentinels to say, because a former master that comes back does not know that one has left it to become the next.
    So does what is read count: it may be a change that nobody has confirmed, and who finds an event handled in it, will
    not handle that again.

    A master that nobody could replace counts alone.
    """

    def __init__(self, sentinels: Sentinels, clock: Clock, timeout: timedelta) -> None:
        self._pool = SentinelConnectionPool(  # type: ignore[no-untyped-call]
            sentinels.master, sentinels, **sentinels.connection_kwargs
        )
        super().__init__(Redis.from_pool(self._pool), f"redis master {sentinels.master}", timeout)
        self._sentinels = sentinels
        self._clock = clock
        self._view: View | None = None
        self._seen_at = 0.0

    async def _close(self) -> None:
        await super()._close()
        await self._pool.aclose()
        await self._sentinels.close()

    async def fetch(self, key: bytes, prefix: bytes) -> bytes | None:
        """Return what lies under a key, once a replica has it as well.

        Raises:
            StoreUnavailable: as for `change`.
        """
        found: bytes | None = await self.change(scripts.FETCH, [key], prefix)
        return found

    async def change(self, script: Script, keys: Sequence[bytes], *arguments: bytes | int) -> Any:
        """Run a script that changes records, and wait until the replicas have the change.

        Raises:
            StoreUnavailable: they have not confirmed it in time, or the server is not the master any more. It may or
                may not be lost.
        """
        async with self._answering(), self._connected() as connection:
            view = await self._lately_seen()
            rest = (len(keys), *keys, *arguments)
            result, confirmed = await self._run_and_wait(connection, script, rest, view.replicas)
            if result and (confirmed < view.replicas or _address(connection) != view.master):
                view = await self._look()
                await self._see_that_it_is_safe(connection, confirmed, view)
            return result

    async def _greet(self) -> None:
        async with self._connected() as connection:
            await _ask(connection, ("WAIT", 0, 1))  # refused here rather than after the first change
        await self._look()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[SentinelManagedConnection]:
        """Lend a connection of our own: an answer is worth as much as the server that it came from."""
        connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            yield connection
        finally:
            await self._pool.release(connection)

    async def _run_and_wait(
        self, connection: SentinelManagedConnection, script: Script, rest: Sequence[bytes | int], replicas: int
    ) -> tuple[Any, int]:
        """Run a script, and return its result and how many replicas have confirmed it, in one trip."""
        wait = ("WAIT", replicas, _REPLICA_MILLISECONDS)
        try:
            result, confirmed = await _ask(connection, ("EVALSHA", script.name, *rest), wait)
        except NoScriptError:
            result, confirmed = await _ask(connection, ("EVAL", script.source, *rest), wait)
        return result, confirmed

    async def _see_that_it_is_safe(self, connection: SentinelManagedConnection, confirmed: int, view: View) -> None:
        if _address(connection) != view.master:
            await connection.disconnect()
            raise StoreUnavailable(f"{self.name} has moved to {view.master[0]}:{view.master[1]}")
        if confirmed < view.replicas:
            raise StoreUnavailable(
                f"{self.name}: {confirmed} of {view.replicas} replicas have confirmed a change within "
                f"{_REPLICA_MILLISECONDS} ms. It may be lost if another one becomes the master"
            )

    async def _lately_seen(self) -> View:
        before, now = self._view, self._clock.monotonic()
        if before is not None and now - self._seen_at < _VIEW_SECONDS:
            return before
        self._seen_at = now  # one looks, the others go on
        try:
            return await self._look()
        except MasterNotFoundError:
            if before is None or not before.replicas:
                raise
            return before  # whoever of them becomes the master will have what they all confirm

    async def _look(self) -> View:
        before, self._view = self._view, await self._sentinels.look()
        self._seen_at = self._clock.monotonic()
        if not self._view.replicas and (before is None or before.replicas):
            hint = "what the master confirms now exists once, until a replica follows it again"
            log.warning("redis_master_without_replicas", server=self.name, hint=hint)
        elif self._view.replicas and before is not None and not before.replicas:
            log.info("redis_master_has_replicas_again", server=self.name)
        return self._view


def _address(connection: SentinelManagedConnection) -> tuple[str, int]:
    return connection.host, connection.port


async def _ask(connection: SentinelManagedConnection, *commands: tuple[str | bytes | int, ...]) -> list[Any]:
    """Run commands in one trip, and return their answers, or raise the first that is an error."""
    answers: list[Any] = []
    try:
        await connection.send_packed_command(connection.pack_commands(commands))
        for _ in commands:
            try:
                answers.append(await connection.read_response())
            except ResponseError as error:
                answers.append(error)
    except BaseException:
        await connection.disconnect(nowait=True)  # nobody shall read the answers that are still to come
        raise
    for answer in answers:
        if isinstance(answer, ResponseError):
            raise answer
    return answers


class Sentinels(Sentinel):
    """The sentinels of one master. They are told the password only if they ask for one: often they have none."""

    def __init__(self, master: str, addresses: Sequence[Address]) -> None:
        first = addresses[0]
        options = connecting(first)
        encryption = {"ssl": True, **certified(first)} if first.tls else {}
        asking = options | encryption | {"db": 0, "username": None, "password": None}
        super().__init__(  # type: ignore[no-untyped-call]
            [(address.host, address.port) for address in addresses],
            sentinel_kwargs=asking,
            **options,
            **encryption,
        )
        self.master = master
        self._addresses = addresses
        self._asking = asking
        self._login = {"username": options["username"], "password": options["password"]}

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return where the master is, from the first sentinel that knows.

        Raises:
            MasterNotFoundError: no sentinel answers, or none knows a master of this name that is well.
        """
        _, address = await self._first_to_know(service_name)
        return address

    async def look(self) -> View:
        """Return where the master is, and how many replicas could take its place.

        Where there are none, the sentinel has to be in touch with most of the others: otherwise it may sit in a corner
        that is cut off, with a master that has been replaced.

        Raises:
            MasterNotFoundError: as for `discover_master`.
            ResponseError: there are no replicas, and most sentinels are out of sight.
        """
        sentinel, address = await self._first_to_know(self.master)
        try:
            async with asyncio.timeout(_SENTINEL_SECONDS):
                replicas = sum(map(_could_take_over, await sentinel.sentinel_slaves(self.master)))
                if not replicas:
                    await sentinel.sentinel_ckquorum(self.master)
        except TimeoutError as error:
            raise MasterNotFoundError(f"a sentinel has not answered within {_SENTINEL_SECONDS:g} s") from error
        return View(address, replicas)

    async def close(self) -> None:
        """End the connections to the sentinels."""
        for sentinel in self.sentinels:
            await sentinel.aclose()

    async def _first_to_know(self, service_name: str) -> tuple[Redis, tuple[str, int]]:
        try:
            return await self._ask(service_name)
        except AuthenticationError:
            if not self._login["password"]:
                raise
        await self.close()
        self.sentinels = [
            Redis(host=one.host, port=one.port, **(self._asking | self._login)) for one in self._addresses
        ]
        return await self._ask(service_name)

    async def _ask(self, service_name: str) -> tuple[Redis, tuple[str, int]]:
        said = []
        for sentinel in self.sentinels:
            try:
                async with asyncio.timeout(_SENTINEL_SECONDS):
                    masters: Any = await sentinel.sentinel_masters()
            except AuthenticationError:
                raise
            except (RedisError, OSError) as error:
                said.append(str(error) or f"no answer within {_SENTINEL_SECONDS:g} s")
                continue
            state = masters.get(service_name)
            if state and self.check_master_state(state, service_name):
                return sentinel, (str(state["ip"]), int(state["port"]))
            said.append("it is down" if state else "not known here")
        told = "; ".join(f"{one.name}: {what}" for one, what in zip(self._addresses, said, strict=True))
        raise MasterNotFoundError(f"no sentinel knows the master {service_name!r} ({told})")


def _could_take_over(replica: Mapping[str, Any]) -> bool:
    """Tell whether the sentinels would choose a replica, which is in touch with the master or was when it was lost."""
    away = replica["is_sdown"] or replica["is_odown"] or replica["is_disconnected"]
    return not away and replica.get("master-link-status") == "ok" and int(replica.get("slave-priority", 100)) > 0
