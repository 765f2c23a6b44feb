"""The master that sentinels name, which may become another one at any time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog
from redis.asyncio import Redis
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.exceptions import AuthenticationError, NoScriptError, RedisError

from ..base import StoreUnavailable
from .server import Server, certified, connecting

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from ...clock import Clock
    from .addresses import Address
    from .scripts import Script

log = structlog.get_logger(__name__)

_REPLICA_MILLISECONDS: Final = 1000
"""How long a replica may take to confirm a change."""
_SENTINEL_SECONDS: Final = 1.0
"""How long one sentinel may take to answer before the next one is asked."""
_ALONE_SECONDS: Final = 1.0
"""How often a master without replicas is looked at."""


class ReplicatedServer(Server):
    """The master. A change counts once a replica has it too, so that a failover does not lose it.

    A master without replicas has nobody who could take its place; then it counts alone, as long as the sentinels
    go on to call it the master. It is asked whether it has replicas again every second.
    """

    def __init__(self, sentinels: Sentinels, clock: Clock, timeout: timedelta) -> None:
        self._pool = SentinelConnectionPool(  # type: ignore[no-untyped-call]
            sentinels.master, sentinels, **sentinels.connection_kwargs
        )
        super().__init__(Redis.from_pool(self._pool), f"redis master {sentinels.master}", timeout)
        self._sentinels = sentinels
        self._clock = clock
        self._alone = False
        self._looked_at = 0.0

    async def _close(self) -> None:
        await super()._close()
        await self._pool.aclose()
        await self._sentinels.close()

    async def change(self, script: Script, keys: Sequence[bytes], *arguments: bytes | int) -> Any:
        """Run a script that changes records, and wait until a replica has the change.

        Raises:
            StoreUnavailable: no replica has confirmed it in time, or the server is not the master any more. It may or
                may not be lost.
        """
        async with self._answering():
            if self._alone:
                await self._look_around()
                return await self._run(script, keys, arguments)
            result, replicas = await self._run_and_wait(script, keys, arguments)
            if result and not replicas:
                await self._explain_silence()
            return result

    async def _greet(self) -> None:
        await self._execute("WAIT", 0, 1)  # refused here rather than after the first change
        self._looked_at = self._clock.monotonic()
        if not await self._replicas():
            self._be_alone()

    async def _run_and_wait(
        self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes | int]
    ) -> tuple[Any, int]:
        """Run a script, and return its result and how many replicas have confirmed it, in one go."""
        answers: list[Any] = []
        for how, what in (("EVALSHA", script.name), ("EVAL", script.source)):
            pipeline = self.client.pipeline(transaction=False)
            pipeline.execute_command(how, what, len(keys), *keys, *arguments)
            pipeline.execute_command("WAIT", 1, _REPLICA_MILLISECONDS)
            answers = await pipeline.execute(raise_on_error=False)
            if not isinstance(answers[0], NoScriptError):
                break
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers[0], answers[1]

    async def _explain_silence(self) -> None:
        if await self._replicas():
            raise StoreUnavailable(
                f"{self.name}: no replica has confirmed a change within {_REPLICA_MILLISECONDS} ms. It may be lost if "
                "another one becomes the master"
            )
        await self._see_that_it_is_the_master()
        self._be_alone()

    async def _look_around(self) -> None:
        now = self._clock.monotonic()
        if now - self._looked_at < _ALONE_SECONDS:
            return
        self._looked_at = now
        await self._see_that_it_is_the_master()
        if await self._replicas():
            self._alone = False
            log.info("redis_master_has_replicas_again", server=self.name)

    def _be_alone(self) -> None:
        if not self._alone:
            hint = "what it confirms now exists once; every second we look for replicas again"
            log.warning("redis_master_without_replicas", server=self.name, hint=hint)
        self._alone = True
        self._looked_at = self._clock.monotonic()

    async def _replicas(self) -> int:
        """Return how many replicas follow the master closely."""
        info = await self.client.info("replication")
        return sum(
            isinstance(value, dict) and name.startswith("slave") and value.get("state") == "online"
            for name, value in info.items()
        )

    async def _see_that_it_is_the_master(self) -> None:
        """A master that was cut off from all others goes on until somebody tells it; the sentinels know better."""
        address = await self._sentinels.discover_master(self._sentinels.master)
        if address != self._pool.master_address:
            await self._pool.disconnect()
            raise StoreUnavailable(f"{self.name} has moved to {address[0]}:{address[1]}")


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

    async def close(self) -> None:
        """End the connections to the sentinels."""
        for sentinel in self.sentinels:
            await sentinel.aclose()

    async def _ask(self, service_name: str) -> tuple[str, int]:
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
                return str(state["ip"]), int(state["port"])
            said.append("it is down" if state else "not known here")
        told = "; ".join(f"{one.name}: {what}" for one, what in zip(self._addresses, said, strict=True))
        raise MasterNotFoundError(f"no sentinel knows the master {service_name!r} ({told})")
