"""Reading a stream to its end and going on later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamConfig

from penstock.jetstream import connect
from penstock.store.streams.reader import PAGE, Reader
from penstock.store.streams.requests import Requests
from penstock.store.streams.stream import Stream, config_of
from penstock.testing.eventually import eventually
from tests.servers.nats import NatsServer


@pytest.fixture
async def stream(nats_server: NatsServer, new_bucket: str) -> AsyncIterator[Stream]:
    """Subjects `<bucket>.*`, one message each."""
    async with (
        connect(nats_server.servers, name="test") as client,
        Requests(client, timeout=timedelta(seconds=5)) as requests,
    ):
        config = config_of(new_bucket, "", [f"{new_bucket}.>"], max_age=None, persistent=True, max_msgs_per_subject=1)
        stream = Stream(requests, config)
        await stream.open()
        yield stream


async def write(stream: Stream, *names: object) -> None:
    for name in names:
        await stream.append(f"{stream.name}.{name}", str(name).encode(), expected=None)


async def read(reader: Reader) -> list[str]:
    return [message.data.decode() async for page in reader.pages() for message in page]


async def consumers(client: Client, stream: Stream) -> int:
    return (await client.jetstream().stream_info(stream.name)).state.consumer_count


async def test_it_reads_what_is_there_and_then_what_is_new(stream: Stream) -> None:
    reader = Reader(stream)
    assert await read(reader) == []
    await write(stream, "a", "b")
    assert await read(reader) == ["a", "b"]
    assert await read(reader) == []
    await write(stream, "b", "c", "a")
    assert await read(reader) == ["b", "c", "a"]
    assert reader.position == 5


async def test_pages_are_full_but_for_the_last(stream: Stream) -> None:
    count = 2 * PAGE + 10
    await asyncio.gather(*(write(stream, number) for number in range(count)))
    pages = [len(page) async for page in Reader(stream).pages()]
    assert pages == [PAGE, PAGE, 10]


async def test_one_subject_may_be_read_alone(stream: Stream) -> None:
    await write(stream, "a", "b", "c")
    assert await read(Reader(stream, subject=f"{stream.name}.b")) == ["b"]
    assert await read(Reader(stream, subject=f"{stream.name}.d")) == []


async def test_it_ends_where_the_last_messages_are_gone(stream: Stream) -> None:
    """After purging, a server of the 2.9 series may neither send a message nor say that there is none."""
    reader = Reader(stream)
    await write(stream, *range(20))
    assert len(await read(reader)) == 20
    for round_ in range(3):
        await write(stream, "kept", "x", "y", "z")
        for name in ("x", "y", "z", 7 + round_):
            await stream.purge(f"{stream.name}.{name}")
        assert await read(reader) == ["kept"]
        assert await read(reader) == []
    await write(stream, "new")
    assert await read(reader) == ["new"]


async def test_it_goes_on_when_the_server_has_forgotten_it(stream: Stream, client: Client) -> None:
    reader = Reader(stream)
    await write(stream, "a", "b")
    assert await read(reader) == ["a", "b"]
    for consumer in await client.jetstream().consumers_info(stream.name):
        await client.jetstream().delete_consumer(stream.name, consumer.name)
    await write(stream, "c")
    assert await read(reader) == ["c"]


async def test_it_begins_again_in_a_stream_that_was_replaced(stream: Stream, client: Client) -> None:
    reader = Reader(stream)
    await write(stream, "a", "b")
    assert await read(reader) == ["a", "b"]
    before = reader.life
    await client.jetstream().delete_stream(stream.name)
    await client.jetstream().add_stream(StreamConfig(name=stream.name, subjects=[f"{stream.name}.>"]))
    await write(stream, "c", "d", "e")
    assert await read(reader) == ["c", "d", "e"]
    assert reader.life != before


async def test_a_reader_that_is_closed_leaves_nothing_on_the_server(stream: Stream, client: Client) -> None:
    reader = Reader(stream)
    await write(stream, "a")
    assert await read(reader) == ["a"]
    assert await consumers(client, stream) == 1
    await reader.close()
    await reader.close()

    async def gone() -> bool:
        return await consumers(client, stream) == 0

    await eventually(gone)
    await write(stream, "b")
    assert await read(reader) == ["b"]


async def test_messages_that_were_lost_on_the_way_are_fetched_again(stream: Stream, client: Client) -> None:
    reader = Reader(stream)
    await write(stream, "a")
    assert await read(reader) == ["a"]
    await write(stream, "b", "c", "d")
    inbox = client.new_inbox()
    other = await client.subscribe(inbox)
    await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream.name}.{reader._consumer}", b'{"batch":1}', reply=inbox)
    assert (await other.next_msg(60)).data == b"b"  # it went to somebody else, so that the reader sees a gap
    assert await read(reader) == ["b", "c", "d"]


@pytest.mark.parametrize("count", [20, 300])
async def test_it_notices_when_the_server_leaps(
    stream: Stream, client: Client, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """nats-server 2.9 moves readers when a subject is purged: behind the last message, or just to it."""
    await asyncio.gather(*(write(stream, number) for number in range(count)))
    reader = Reader(stream)
    attach, made = reader._attach, list[str]()

    async def leapt() -> int:
        pending = await attach()
        if not made:
            config = ConsumerConfig(
                ack_policy=AckPolicy.NONE, deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=count
            )
            made.append((await client.jetstream().add_consumer(stream.name, config)).name)
            reader._consumer = made[0]
            reader._pending = 1  # what the server counts does not tell of the leap
        return pending

    monkeypatch.setattr(reader, "_attach", leapt)
    assert sorted(map(int, await read(reader))) == list(range(count))
    assert made
