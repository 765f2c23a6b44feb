"""Notes on a real NATS server: kept there, and taken by one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import nats
import pytest

from penstock.bus.base import BusUnavailable

if TYPE_CHECKING:
    from tests.servers.nats import NatsServer

    from .conftest import NewBus


async def test_notes_outlive_who_made_them_and_one_of_many_takes_each(new_bus: NewBus) -> None:
    names = ["one", "two.with > and * in it", "über", "x" * 200]
    async with new_bus() as bus:
        notes = bus.notes()
        assert await notes.names() == []
        assert not await notes.take("one")
        for name in names:
            await notes.add(name)
    async with new_bus() as bus, new_bus() as other:
        assert sorted(await bus.notes().names()) == sorted(names)
        for name in names:
            taken = await asyncio.gather(*(one.notes().take(name) for one in (bus, other, bus)))
            assert sorted(taken) == [False, False, True]
        assert await other.notes().names() == []


async def test_a_newer_note_stays_when_an_older_one_is_taken(new_bus: NewBus) -> None:
    async with new_bus() as bus:
        notes = bus.notes()
        older = await notes.add("one")
        newer = await notes.add("one")
        assert await notes.find("one") == newer > older
        assert not await notes.take("one", older)
        assert await notes.names() == ["one"]
        assert await notes.take("one", newer)
        assert await notes.find("one") is None


async def test_what_others_write_there_is_left_out(new_bus: NewBus, server: NatsServer) -> None:
    async with new_bus() as bus:
        await bus.notes().add("one")
        client = await nats.connect(server.endpoint)
        for subject in ("penstock.held.a", "penstock.held.x.y", "penstock.held.____", "penstock.held.b25l.b25l"):
            await client.jetstream().publish(subject, b"")
        await client.close()
        assert await bus.notes().names() == ["one"]


async def test_a_server_that_is_away_is_told(new_bus: NewBus, server: NatsServer) -> None:
    async with new_bus() as bus:
        server.freeze()
        try:
            for asked in (bus.notes().add("one"), bus.notes().take("one", 1), bus.notes().find("one")):
                with pytest.raises(BusUnavailable, match="no notes on NATS"):
                    await asked
        finally:
            server.thaw()
