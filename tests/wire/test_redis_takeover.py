"""One Redis, first written by a Go service and then by ours, and the other way round."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from structlog.testing import capture_logs

from penstock.bus.local import LocalBus
from penstock.bus.memory import Memory
from penstock.bus.publish import Publisher
from penstock.core.policy import Policy
from penstock.core.progress import FINISHED, State
from penstock.events.types import (
    Envelope,
    PostprocessingFinished,
    PostprocessingStepFinished,
    ResumePostprocessing,
    StartPostprocessingStep,
    UploadReady,
)
from penstock.postprocessing.coordinator import Coordinator
from penstock.postprocessing.reconcile import Reconciler
from penstock.postprocessing.survey import Survey
from penstock.store.base import RevisionConflict, Saved
from penstock.store.layout import BadRecord, encode
from penstock.store.redis import RedisSentinelStore, RedisStore
from penstock.store.target import StoreTarget
from penstock.telemetry import Metrics
from penstock.testing import ManualClock, eventually
from penstock.testing.store_contract.records import NOW, SECOND, collect, full_record, ids_of, record
from tests.servers.redis import RedisProcess, RedisWithSentinels, running_redis, running_sentinels
from tests.wire.captures import capture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.xdist_group("redis")

GO_TYPES: dict[str, type | tuple[type, ...]] = {
    "ID": str,
    "URL": str,
    "User": (dict, type(None)),
    "ImpersonatingUser": (dict, type(None)),
    "Filename": str,
    "Filesize": int,
    "ResourceID": (dict, type(None)),
    "Steps": list,
    "Status": dict,
    "Failures": int,
    "InitiatorID": str,
    "Finished": bool,
}
"""What the Go services decode a record into, in the order in which they write it."""
RUNS = capture("store-redis")["runs"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def empty(server: RedisProcess) -> RedisProcess:
    server.ask("FLUSHALL")
    return server


@pytest.fixture
async def store(empty: RedisProcess) -> AsyncIterator[RedisStore]:
    async with RedisStore(StoreTarget(nodes=(empty.node,))) as store:
        yield store


def by_go(upload_id: str, step: str = "virusscan", **changes: Any) -> bytes:
    """A record as a Go service writes it: the keys that it knows, and no others."""
    written = json.loads(encode(record(upload_id, step)))
    return json.dumps({key: written[key] for key in GO_TYPES} | changes, separators=(",", ":")).encode()


class World:
    """A coordinator on a store that a Go service has used, and somebody who hears what it says."""

    def __init__(self, store: RedisStore | RedisSentinelStore, stack: AsyncExitStack) -> None:
        self.store = store
        self.stack = stack
        self.clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.heard: list[Any] = []

    async def open(self) -> None:
        bus = await self.stack.enter_async_context(LocalBus(self.clock))
        types = (StartPostprocessingStep, PostprocessingFinished)
        await self.stack.enter_async_context(bus.subscribe("listener", types, self._hear, workers=1))
        self.coordinator = Coordinator(
            store=self.store,
            bus=bus,
            publisher=Publisher(bus, self.clock),
            policy=Policy.create(["virusscan"]),
            clock=self.clock,
            metrics=Metrics(),
        )

    async def say(self, event: Any) -> None:
        await self.coordinator.handle(Envelope(event=event, event_id=str(len(self.heard)) + type(event).__name__))

    async def _hear(self, envelope: Envelope) -> None:
        self.heard.append(envelope.event)


async def finish(store: RedisStore | RedisSentinelStore, entries: list[dict[str, Any]]) -> None:
    """Answer each step of what a Go service has begun, and confirm, until nothing is left."""
    uploads = [entry["record_json"]["ID"] for entry in entries]
    assert sorted(await collect(store.all())) == sorted(uploads)
    async with AsyncExitStack() as stack:
        world = World(store, stack)
        await world.open()
        waiting, failed = uploads
        saved = await store.get(failed)
        assert saved is not None
        assert saved.progress.state is State.FAILED
        for number, step in enumerate(("virusscan", "customstep")):
            await world.say(PostprocessingStepFinished(upload_id=waiting, finished_step=step, outcome="continue"))
            await eventually(lambda expected=number: len(world.heard) > expected)  # type: ignore[misc]  # a default
        assert world.heard[0].step_to_start == "customstep"
        assert isinstance(world.heard[1], PostprocessingFinished)
        assert (world.heard[1].upload_id, world.heard[1].outcome) == (waiting, "continue")
        for upload in uploads:
            await world.say(UploadReady(upload_id=upload))
        assert await collect(store.all()) == []


@pytest.mark.parametrize("run", RUNS, ids=["without a table", "with a table"])
async def test_what_a_go_service_left_in_redis_is_read_and_finished(empty: RedisProcess, run: dict[str, Any]) -> None:
    with empty.client() as client:
        for entry in run["entries"]:
            client.set(entry["key"], entry["value"])
    table = run["config"].get("POSTPROCESSING_STORE_TABLE", "")
    async with RedisStore(StoreTarget(nodes=(empty.node,), table=table, database="ppdb")) as store:
        await finish(store, run["entries"])
    with empty.client() as client:  # nothing is left but our own notes
        assert [key for key in client.keys("*") if not key.startswith(b"penstock:")] == []


@pytest.mark.parametrize("run", capture("store-redis-sentinel")["runs"], ids=["without a table", "with a table"])
async def test_what_a_go_service_left_behind_sentinels_is_read_and_finished(
    sentinels: RedisWithSentinels, run: dict[str, Any]
) -> None:
    sentinels.master().ask("FLUSHALL")
    with sentinels.master().client() as client:
        for entry in run["entries"]:
            client.set(entry["key"], entry["value"])
    table = run["config"].get("POSTPROCESSING_STORE_TABLE", "")
    async with RedisSentinelStore(StoreTarget(nodes=sentinels.nodes, table=table)) as store:
        await finish(store, run["entries"])


@pytest.fixture(scope="module")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisWithSentinels]:
    with running_sentinels(tmp_path_factory.mktemp("sentinels")) as servers:
        yield servers


async def test_a_record_of_ours_decodes_as_gos_type_with_its_key_and_without_expiry(empty: RedisProcess) -> None:
    target = StoreTarget(nodes=(empty.node,), table="uploads", ttl=48 * 3600 * SECOND)
    async with RedisStore(target) as store:
        await store.save(full_record("u1"), expected=None)
    with empty.client() as client:
        value = client.get("uploadsu1")
        assert (client.type("uploadsu1"), client.ttl("uploadsu1")) == (b"string", -1)
    assert isinstance(value, bytes)
    assert value.startswith(encode(full_record("u1"))[:-1])
    content = json.loads(value)
    assert list(content)[:12] == list(GO_TYPES)
    assert all(isinstance(content[key], kind) for key, kind in GO_TYPES.items())
    assert {key.lower() for key in GO_TYPES} & {key.lower() for key in list(content)[12:]} == set()


async def test_what_go_captured_and_ours_changed_differs_in_what_was_changed_only(
    store: RedisStore, empty: RedisProcess
) -> None:
    entry = RUNS[0]["entries"][0]
    with empty.client() as client:
        client.set(entry["key"], entry["value"])
        saved = await store.get(entry["key"])
        assert saved is not None
        await store.save(msgspec.structs.replace(saved.progress, failures=1), expected=saved.revision)
        value = client.get(entry["key"])
    assert isinstance(value, bytes)
    content = json.loads(value)
    assert {key: content[key] for key in GO_TYPES} == entry["record_json"] | {"Failures": 1}


async def test_a_write_of_a_go_service_is_a_conflict_for_whoever_read_before(
    store: RedisStore, empty: RedisProcess
) -> None:
    revision = await store.save(record("u1"), expected=None)
    empty.ask("SET", "u1", by_go("u1", Failures=1).decode())
    with pytest.raises(RevisionConflict):
        await store.save(record("u1", failures=2), expected=revision)
    with pytest.raises(RevisionConflict):
        await store.delete("u1", expected=revision)
    saved = await store.get("u1")
    assert saved is not None
    assert saved.progress.failures == 1
    await store.save(record("u1", failures=2), expected=saved.revision)


async def test_what_go_writes_and_removes_later_is_listed_as_it_is(store: RedisStore, empty: RedisProcess) -> None:
    first = await store.save(record("ours", due=-1 * SECOND), expected=None)
    await store.save(record("gone", due=-2 * SECOND), expected=None)
    await store.save(record("untouched", due=-3 * SECOND), expected=None)
    with empty.client() as client:
        client.set("ours", by_go("ours", FINISHED))  # without the timer, in another step
        client.delete("gone")
        client.set("new", by_go("new"))
    assert ids_of(await store.due(NOW, limit=1)) == ["untouched"]
    assert ids_of(await store.due(NOW, limit=10)) == ["untouched"]
    assert await store.next_due() == NOW - 3 * SECOND
    assert sorted(await collect(store.in_step("virusscan"))) == ["new", "untouched"]
    assert await collect(store.in_step(FINISHED)) == ["ours"]
    assert await collect(store.all()) == ["ours", "untouched", "new"]
    assert await store.count_by_step() == {"virusscan": 2, FINISHED: 1}
    with pytest.raises(RevisionConflict):
        await store.save(record("ours"), expected=first)


async def test_what_others_keep_in_the_same_database_is_left_alone(empty: RedisProcess) -> None:
    foreign = {
        "cache/1": b"{}",
        "cache/2": b'{"ID":"another key","Status":{"CurrentStep":"virusscan"}}',
        "cache/3": b'{"ID":"cache/3"',
        "cache/4": b"\x00\xff" * 1000,
        b"\xff\xfe": b'{"ID":"no text"}',
    }
    with empty.client() as client:
        for key, value in foreign.items():
            client.set(key, value)
        client.set("uploadsu1", by_go("u1"))  # another installation's table
        client.rpush("list", "1")
        client.hset("hash", "ID", "1")
        before = {key: client.dump(key) for key in client.keys("*")}
        with capture_logs() as lines:
            async with RedisStore(StoreTarget(nodes=(empty.node,))) as store:
                assert await collect(store.all()) == []
                await store.save(record("u1"), expected=None)
                assert await collect(store.in_step("virusscan")) == ["u1"]
                for key in ("cache/1", "cache/2", "list"):
                    with pytest.raises(BadRecord):
                        await store.get(key)
                assert list(await store.get_many(["list", "cache/4", "u1"])) == ["u1"]
                with pytest.raises(RevisionConflict):
                    await store.save(record("cache/1"), expected=None)
                with pytest.raises(BadRecord):
                    await store.save(record("list"), expected=None)
        assert [line for line in lines if line["log_level"] == "error"] == [
            line for line in lines if line.get("upload") == "cache/4"
        ]
        assert {key: client.dump(key) for key in before} == before


async def test_our_notes_are_few_and_no_uploads_record_can_be_one_of_them(
    store: RedisStore, empty: RedisProcess
) -> None:
    """`resume -s` of a Go service reads every key, and logs an error for each that is no record."""
    uploads = [f"u{number}" for number in range(100)]
    for upload in uploads:
        await store.save(record(upload, due=SECOND), expected=None)
    await store.remember_answer("virusscan", NOW)
    with empty.client() as client:
        ours = set(client.keys("*")) - {upload.encode() for upload in uploads}
    assert len(ours) < 10
    for key in ours:
        with pytest.raises(UnicodeDecodeError):
            key.decode()


async def test_a_record_of_a_go_service_gets_timers_at_the_next_sweep(store: RedisStore, empty: RedisProcess) -> None:
    empty.ask("SET", "u1", by_go("u1", Status={"CurrentStep": "virusscan", "Outcome": "retry"}).decode())
    assert await store.next_due() is None
    async with AsyncExitStack() as stack:
        world = World(store, stack)
        await world.open()
        survey = Survey(store=store, clock=world.clock, stalled_after=SECOND)
        reconciler = Reconciler(
            store=store,
            coordinator=world.coordinator,
            memory=Memory(),
            clock=world.clock,
            interval=SECOND,
            survey=survey,
        )
        assert await reconciler.mend() == 1
        assert await reconciler.mend() == 0
    assert await store.next_due() is not None


async def test_two_tables_in_one_database_do_not_meet(empty: RedisProcess) -> None:
    nodes = (empty.node,)
    async with (
        RedisStore(StoreTarget(nodes=nodes, table="a")) as one,
        RedisStore(StoreTarget(nodes=nodes, table="a:b")) as other,
    ):
        revision = await one.save(record("u1"), expected=None)
        await other.save(record("u2", due=SECOND), expected=None)
        assert await collect(one.all()) == ["u1"]
        assert await collect(other.all()) == ["u2"]
        assert await one.next_due() is None
        assert await one.get("u1") == Saved(record("u1"), revision)


async def test_an_index_that_is_lost_is_made_again(store: RedisStore, empty: RedisProcess) -> None:
    await store.save(record("u1", due=SECOND), expected=None)
    await store.save(record("u2"), expected=None)
    with empty.client() as client:
        client.delete(*client.keys("penstock:*"))
    assert sorted(await collect(store.all())) == ["u1", "u2"]
    assert await store.next_due() == NOW + SECOND
    assert await store.count_by_step() == {"virusscan": 2}


async def test_resume_by_step_finds_what_go_left_there(store: RedisStore, empty: RedisProcess) -> None:
    empty.ask("SET", "u1", by_go("u1").decode())
    async with AsyncExitStack() as stack:
        world = World(store, stack)
        await world.open()
        await world.say(ResumePostprocessing(upload_id="", step="virusscan"))
        await eventually(lambda: world.heard)
        assert (world.heard[0].upload_id, world.heard[0].step_to_start) == ("u1", "virusscan")
