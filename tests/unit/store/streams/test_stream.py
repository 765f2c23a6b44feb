"""One stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from nats.aio.client import Client

from penstock.jetstream import connect
from penstock.store.base import StoreUnavailable
from penstock.store.streams.requests import NobodyAnswers, Requests
from penstock.store.streams.stream import Config, Info, Message, Stream, WrongSequence, config_of, keeps_conditions
from tests.servers.nats import NatsServer


@pytest.fixture
async def requests(nats_server: NatsServer) -> AsyncIterator[Requests]:
    async with (
        connect(nats_server.servers, name="test") as client,
        Requests(client, timeout=timedelta(seconds=5)) as requests,
    ):
        yield requests


@pytest.fixture
def stream(requests: Requests, new_bucket: str) -> Stream:
    return Stream(requests, config_of(new_bucket, "", [f"{new_bucket}.>"], max_age=None, persistent=True))


async def test_it_is_made_when_it_is_written_to_or_read(stream: Stream) -> None:
    assert await stream.info() is None
    assert await stream.last(f"{stream.name}.a") is None
    assert await stream.info() is not None


async def test_many_who_miss_it_at_once_make_it_once(stream: Stream, client: Client) -> None:
    written = [stream.append(f"{stream.name}.{number}", b"x", expected=0) for number in range(50)]
    read = [stream.last(f"{stream.name}.none") for _ in range(50)]
    found, _ = await asyncio.gather(asyncio.gather(*written), asyncio.gather(*read))
    assert sorted(found) == list(range(1, 51))
    assert (await client.jetstream().stream_info(stream.name)).state.messages == 50


async def test_the_last_message_of_a_subject_is_read_with_its_headers(stream: Stream) -> None:
    subject = f"{stream.name}.a"
    await stream.append(subject, b"1", expected=None)
    seq = await stream.append(subject, b"2", expected=None, headers=b"A: b: c\r\n")
    await stream.append(f"{stream.name}.b", b"3", expected=None)
    assert await stream.last(subject) == Message(subject, seq, b"2", b"NATS/1.0\r\nA: b: c\r\n\r\n")


async def test_a_write_after_another_message_than_expected_is_refused(stream: Stream) -> None:
    subject = f"{stream.name}.a"
    first = await stream.append(subject, b"1", expected=0)
    second = await stream.append(subject, b"2", expected=first)
    for expected in (0, first, 99):
        with pytest.raises(WrongSequence):
            await stream.append(subject, b"3", expected=expected)
    message = await stream.last(subject)
    assert message is not None
    assert (message.seq, message.data) == (second, b"2")


async def test_purging_ends_before_what_was_written_later(stream: Stream) -> None:
    subject = f"{stream.name}.a"
    first = await stream.append(subject, b"1", expected=None)
    await stream.append(f"{stream.name}.b", b"2", expected=None)
    third = await stream.append(subject, b"3", expected=None)
    await stream.purge(subject, before=first + 1)
    info = await stream.info()
    assert info is not None
    assert info.state.last_seq == third
    message = await stream.last(subject)
    assert message is not None
    await stream.purge(subject)
    assert await stream.last(subject) is None
    assert await stream.last(f"{stream.name}.b") is not None


async def test_one_message_is_removed_by_its_number_if_there_is_one(stream: Stream) -> None:
    subject = f"{stream.name}.a"
    first = await stream.append(subject, b"1", expected=None)
    second = await stream.append(subject, b"2", expected=first)
    assert await stream.delete(first)
    assert not await stream.delete(first)
    assert await stream.at(first) is None
    assert await stream.at(second) == await stream.last(subject)
    assert await stream.append(subject, b"3", expected=second) == second + 1


async def test_a_stream_that_cannot_be_made_says_why(requests: Requests, stream: Stream) -> None:
    await stream.open()
    twin = Stream(requests, config_of(f"{stream.name}x", "", [f"{stream.name}.>"], max_age=None, persistent=True))
    with pytest.raises(StoreUnavailable, match="overlap"):
        await twin.open()


async def test_a_question_that_nobody_hears_fails_at_once(requests: Requests) -> None:
    with pytest.raises(NobodyAnswers, match=r"nobody\.here"):
        await requests.ask("nobody.here")


async def test_a_question_without_an_answer_ends_in_time(requests: Requests, client: Client) -> None:
    short = Requests(requests.client, timeout=timedelta(seconds=0.1))
    subject = requests.client.new_inbox()
    await client.subscribe(subject)
    await client.flush()
    await client.flush()  # the first one may overtake the subscription, which nats-py sends a moment later
    async with short:
        with pytest.raises(StoreUnavailable, match=r"within 0\.1 s"):
            await short.ask(subject)


async def test_an_answer_that_is_none_is_no_answer(requests: Requests, client: Client, new_bucket: str) -> None:
    listening = await client.subscribe(new_bucket)
    await client.flush()
    await client.flush()  # as above
    stream = Stream(requests, config_of("x", "", [new_bucket], max_age=None, persistent=True))
    asking = asyncio.create_task(stream.append(new_bucket, b"", expected=None))
    await (await listening.next_msg(60)).respond(b"what?")
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        await asking


async def test_a_cancelled_question_is_forgotten(requests: Requests, client: Client) -> None:
    listening = await client.subscribe("slow")
    await client.flush()
    await client.flush()  # the first one may overtake the subscription, which nats-py sends a moment later
    asking = asyncio.create_task(requests.ask("slow"))
    question = await listening.next_msg(60)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await question.respond(b"too late")
    await client.flush()
    assert requests._asked == {}


@pytest.mark.parametrize(
    ("version", "replicas", "kept"),
    [((2, 9, 10), 1, True), ((2, 9, 10), 3, False), ((2, 9, 21), 3, True), ((2, 10), 3, True), ((), 3, False)],
)
def test_conditions_hold_on_copies_from_some_version_on(version: tuple[int, ...], replicas: int, kept: bool) -> None:
    assert keeps_conditions(version, Info(config=Config(num_replicas=replicas))) is kept
