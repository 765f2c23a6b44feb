"""The key-value store on NATS: several instances, removals, foreign keys, and a server that comes and goes."""

from __future__ import annotations

import asyncio
import json
import subprocess
from base64 import b32decode, b32encode, b64encode
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import nats
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from structlog.testing import capture_logs

from penstock.core.progress import FINISHED
from penstock.errors import ConfigurationError
from penstock.jetstream import NatsServers
from penstock.store.base import RevisionConflict, Saved, StoreUnavailable
from penstock.store.layout import BadRecord, encode
from penstock.store.nats_kv import NatsKvStore, _name
from penstock.store.streams.follower import INTERVAL
from penstock.store.streams.markers import GRACE
from penstock.store.streams.stream import Info
from penstock.store.target import StoreTarget
from penstock.testing.clock import ManualClock
from penstock.testing.eventually import eventually
from penstock.testing.store_contract.records import NOW, SECOND, collect, ids_of, record
from tests.servers.nats import NatsServer, running_nats

SHORT = timedelta(seconds=2)
WHILE_A_SERVER_STARTS = 60.0


@pytest.fixture
async def client(nats_server: NatsServer) -> AsyncIterator[Client]:
    client = await nats.connect(nats_server.endpoint)
    yield client
    await client.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(nats_server: NatsServer, new_bucket: str, clock: ManualClock) -> NatsKvStore:
    return NatsKvStore(StoreTarget(database=new_bucket), servers=nats_server.servers, clock=clock)


@pytest.fixture
def other(nats_server: NatsServer, new_bucket: str, clock: ManualClock) -> NatsKvStore:
    """Another instance on the same bucket."""
    return NatsKvStore(StoreTarget(database=new_bucket), servers=nats_server.servers, clock=clock)


def key(name: str) -> str:
    return b32encode(name.encode()).decode()


def entry(upload_id: str) -> bytes:
    """A value as the Go service writes it."""
    data = b64encode(encode(record(upload_id, due=SECOND))).decode()
    return json.dumps({"key": upload_id, "data": data, "metadata": None}).encode()


async def messages(client: Client, bucket: str) -> int:
    count: int = (await client.jetstream().stream_info(f"KV_{bucket}")).state.messages
    return count


async def comes_back(store: NatsKvStore, upload_id: str) -> Saved | None:
    """Read a record as soon as the server lets us."""

    async def read() -> list[Saved | None]:
        try:
            return [await store.get(upload_id)]
        except StoreUnavailable:
            return []

    return (await eventually(read, timeout_seconds=WHILE_A_SERVER_STARTS))[0]


class TestKeys:
    @given(st.binary(min_size=1, max_size=60))
    def test_a_key_says_what_it_was_made_of(self, name: bytes) -> None:
        assert _name(b32encode(name).decode()) == name

    @given(st.text("AB27=", min_size=1, max_size=16) | st.text("AMZ27=0189av_- ٣é", min_size=1, max_size=16))
    def test_what_is_no_base32_is_refused(self, text: str) -> None:
        try:
            expected = b32decode(text)
        except ValueError:
            with pytest.raises(ValueError, match="not base32"):
                _name(text)
        else:
            assert _name(text) == expected


class TestSeveralInstances:
    async def test_what_another_instance_writes_is_due_here_after_an_interval(
        self, store: NatsKvStore, other: NatsKvStore, clock: ManualClock
    ) -> None:
        async with store, other:
            revision = await other.save(record("u1", due=SECOND), expected=None)
            assert await other.next_due() == NOW + SECOND
            assert await store.next_due() is None
            await eventually(lambda: clock.sleepers == 2)
            await clock.advance(INTERVAL)
            await eventually(lambda: next_due(store, NOW + SECOND))
            assert ids_of(await store.due(NOW + SECOND, limit=9)) == ["u1"]
            await other.delete("u1", expected=revision)
            assert await store.due(NOW + SECOND, limit=9) == []  # each is read, so it is not due for us either
            assert await store.next_due() is None

    async def test_lists_and_counts_know_at_once_what_others_have_written(
        self, store: NatsKvStore, other: NatsKvStore
    ) -> None:
        async with store, other:
            first = await other.save(record("u1"), expected=None)
            assert await store.count_by_step() == {"virusscan": 1}
            await other.save(record("u1", FINISHED), expected=first)
            await other.save(record("u2"), expected=None)
            assert await collect(store.in_step("virusscan")) == ["u2"]
            assert await collect(store.in_step(FINISHED)) == ["u1"]
            assert sorted(await collect(store.all())) == ["u1", "u2"]

    async def test_few_of_many_records_are_read_one_by_one(self, store: NatsKvStore) -> None:
        async with store:
            await asyncio.gather(*(store.save(record(f"u{number}"), expected=None) for number in range(20)))
            await store.save(record("one", FINISHED), expected=None)
            assert await collect(store.in_step(FINISHED)) == ["one"]
            assert len(await collect(store.in_step("virusscan"))) == 20

    async def test_no_reader_is_left_on_the_server(self, store: NatsKvStore, client: Client, new_bucket: str) -> None:
        async with store:
            await store.save(record("u1"), expected=None)
            await store.remember_answer("virusscan", NOW)
            await store.answered()
            async for _ in store.all():
                break
        for stream in (f"KV_{new_bucket}", f"KV_{new_bucket}_answers"):
            await eventually(partial(no_consumer, client, stream))


class TestRemovals:
    async def test_markers_are_purged_after_a_while_and_the_upload_may_come_back(
        self, store: NatsKvStore, clock: ManualClock, client: Client, new_bucket: str
    ) -> None:
        async with store:
            await eventually(lambda: clock.sleepers == 1)
            for upload in ("u1", "u2"):
                revision = await store.save(record(upload), expected=None)
                await store.delete(upload, expected=revision)
            assert await messages(client, new_bucket) == 2
            back = await store.save(record("u2", failures=1), expected=None)  # over its marker
            await clock.advance(GRACE + INTERVAL)
            await eventually(lambda: holds(client, new_bucket, 1))
            assert await store.get("u2") == Saved(record("u2", failures=1), back)
            assert await store.get("u1") is None
            again = await store.save(record("u1"), expected=None)
            assert await store.get("u1") == Saved(record("u1"), again)

    async def test_markers_that_go_left_behind_are_purged_too(
        self, store: NatsKvStore, clock: ManualClock, client: Client, new_bucket: str
    ) -> None:
        async with store:
            await client.jetstream().publish(f"$KV.{new_bucket}.{key('gone')}", b"", headers={"KV-Operation": "DEL"})
        async with store:
            await eventually(lambda: clock.sleepers == 1)
            await clock.advance(GRACE + INTERVAL)
            await eventually(lambda: holds(client, new_bucket, 0))

    async def test_where_purging_is_denied_they_stay(
        self, store: NatsKvStore, clock: ManualClock, client: Client, new_bucket: str
    ) -> None:
        config = {"name": f"KV_{new_bucket}", "subjects": [f"$KV.{new_bucket}.>"], "max_msgs_per_subject": 5}
        answer = await client.request(
            f"$JS.API.STREAM.CREATE.KV_{new_bucket}", json.dumps(config | {"deny_purge": True}).encode(), timeout=5
        )
        assert "error" not in json.loads(answer.data)
        async with store:  # and a bucket that was made by somebody else is used as it is
            await eventually(lambda: clock.sleepers == 1)
            revision = await store.save(record("u1"), expected=None)
            await store.delete("u1", expected=revision)
            with capture_logs() as lines:
                await clock.advance(GRACE + INTERVAL)
                assert await store.count_by_step() == {}
            assert lines == []
            assert await messages(client, new_bucket) == 2

    async def test_what_was_purged_behind_our_back_is_not_due(
        self, store: NatsKvStore, client: Client, new_bucket: str
    ) -> None:
        async with store:
            await store.save(record("u1", due=-SECOND), expected=None)
            await store.save(record("u2", due=SECOND), expected=None)
            await client.jetstream().purge_stream(f"KV_{new_bucket}", subject=f"$KV.{new_bucket}.{key('u1')}")
            assert await store.due(NOW, limit=9) == []
            assert await store.next_due() == NOW + SECOND
            assert await collect(store.all()) == ["u2"]
            assert await store.count_by_step() == {"virusscan": 1}


class TestForeignValues:
    @pytest.mark.parametrize("value", [b"\x00", b"[]", b'{"key":"u1","data":"?"}', b'{"key":"u1"}', b""])
    async def test_what_go_micro_would_not_write_is_no_record(
        self, store: NatsKvStore, client: Client, new_bucket: str, value: bytes
    ) -> None:
        async with store:
            await store.save(record("u1", due=-SECOND), expected=None)
            await client.jetstream().publish(f"$KV.{new_bucket}.{key('u1')}", value)
            with pytest.raises(BadRecord):
                await store.get("u1")
            with capture_logs() as lines:
                assert await collect(store.all()) == []
                assert await store.due(NOW, limit=9) == []
            assert {line["event"] for line in lines} == {"record_unreadable"}

    async def test_another_uploads_record_is_not_taken_for_this_one(
        self, store: NatsKvStore, client: Client, new_bucket: str
    ) -> None:
        async with store:
            await client.jetstream().publish(f"$KV.{new_bucket}.{key('u1')}", entry("u2"))
            with pytest.raises(BadRecord, match="u2"):
                await store.get("u1")
            assert await store.get_many(["u1", "u2"]) == {}

    async def test_keys_that_are_not_ours_are_passed_over(
        self, store: NatsKvStore, client: Client, new_bucket: str, nats_server: NatsServer
    ) -> None:
        table = NatsKvStore(StoreTarget(database=new_bucket, table="t"), servers=nats_server.servers)
        async with store, table:
            for name in ("not-base32", key("t_ours"), key("other_one"), b32encode(b"\xff").decode()):
                await client.jetstream().publish(f"$KV.{new_bucket}.{name}", entry("ours"))
            assert await collect(table.all()) == ["ours"]
            assert await table.count_by_step() == {"virusscan": 1}
            assert await collect(store.all()) == []

    async def test_an_id_that_no_key_can_hold_is_refused(self, store: NatsKvStore) -> None:
        async with store:
            assert await store.get("x" * 4000) is None
            with pytest.raises(BadRecord, match="too long"):
                await store.save(record("x" * 4000), expected=None)
            await store.save(record("x" * 1500), expected=None)  # and the connection is still there
            assert await collect(store.all()) == ["x" * 1500]

    async def test_a_record_that_no_message_can_hold_is_refused(self, store: NatsKvStore) -> None:
        async with store:
            with pytest.raises(BadRecord, match="bytes"):
                await store.save(record("u1", filename="x" * 2_000_000), expected=None)
            await store.save(record("u1"), expected=None)

    def test_a_database_that_is_no_name_is_refused(self, nats_server: NatsServer) -> None:
        for name in ("", "a.b", "a b", "a/b", "*"):
            with pytest.raises(ConfigurationError, match="database"):
                NatsKvStore(StoreTarget(database=name), servers=nats_server.servers)


class TestServerAway:
    @pytest.fixture
    async def server(self, tmp_path: Path) -> AsyncIterator[NatsServer]:
        with running_nats(tmp_path) as server:
            yield server

    @pytest.fixture
    def store(self, server: NatsServer) -> NatsKvStore:
        return NatsKvStore(StoreTarget(), servers=server.servers, timeout=SHORT)

    async def test_a_server_that_was_killed_and_comes_back_is_used_again(
        self, store: NatsKvStore, server: NatsServer
    ) -> None:
        async with store:
            first = await store.save(record("u1", due=SECOND), expected=None)
            server.kill()
            for call in (store.get("u1"), store.save(record("u2"), expected=None), store.count_by_step()):
                with pytest.raises(StoreUnavailable):
                    await call
            server.start_again()
            saved = await comes_back(store, "u1")
            assert saved == Saved(record("u1", due=SECOND), first)
            assert set(await store.count_by_step()) == {"virusscan"}
            assert ids_of(await store.due(NOW + SECOND, limit=9)) == ["u1"]
            await store.save(record("u1"), expected=first)

    async def test_no_answered_write_is_lost_when_the_server_is_killed_in_the_middle(
        self, store: NatsKvStore, server: NatsServer
    ) -> None:
        told: dict[str, int] = {}

        async def write(number: int) -> None:
            for failures in range(10_000):
                upload = f"u{number}-{failures}"
                try:
                    told[upload] = await store.save(record(upload), expected=None)
                except StoreUnavailable:
                    return

        async with store:
            writers = asyncio.gather(*(write(number) for number in range(8)))
            await eventually(lambda: len(told) > 200)
            server.kill()
            await writers
            server.start_again()
            await comes_back(store, "u0-0")
            held = {saved.progress.upload_id: saved.revision async for saved in store.all()}
            assert told.items() <= held.items()
            assert (await store.count_by_step())["virusscan"] == len(held)

    @pytest.mark.parametrize("restarted", [False, True])
    async def test_a_bucket_that_was_removed_is_made_again(
        self, store: NatsKvStore, server: NatsServer, restarted: bool
    ) -> None:
        async with store:
            old = await store.save(record("u1", due=SECOND), expected=None)
            before = await configuration(server)
            if restarted:
                server.kill()
                server.lose_everything()
                server.start_again()
            else:
                client = await nats.connect(server.endpoint)
                await client.jetstream().delete_stream("KV_postprocessing")
                await client.close()
            assert await comes_back(store, "u1") is None
            with pytest.raises(RevisionConflict):
                await store.save(record("u1"), expected=old)
            await store.save(record("u2", FINISHED), expected=None)
            assert await store.count_by_step() == {FINISHED: 1}
            assert await store.next_due() is None
            assert await configuration(server) == before
            await store.remember_answer("virusscan", NOW)
            assert await store.answered() == {"virusscan": NOW}

    async def test_a_server_that_does_not_answer_is_given_up_in_time(
        self, store: NatsKvStore, server: NatsServer
    ) -> None:
        async with store:
            await store.save(record("u1"), expected=None)
            server.freeze()
            try:
                async with asyncio.timeout(30 * SHORT.total_seconds()):
                    for call in (store.get("u1"), store.count_by_step()):
                        with pytest.raises(StoreUnavailable):
                            await call
            finally:
                server.thaw()
            assert await comes_back(store, "u1") is not None

    async def test_a_server_that_is_not_there_is_said_at_start(self, server: NatsServer) -> None:
        servers = server.servers
        server.kill()
        store = NatsKvStore(StoreTarget(), servers=servers, patience=SHORT)
        with pytest.raises(StoreUnavailable, match=server.endpoint):
            await store.__aenter__()
        with pytest.raises(StoreUnavailable, match="not open"):
            await store.get("u1")

    async def test_a_server_without_jetstream_is_said_at_start(self, tmp_path: Path) -> None:
        users = "accounts { A { users: [{user: a, password: a}] } }"
        folder = tmp_path / "without"
        folder.mkdir()
        with running_nats(folder, more=users) as server:
            servers = NatsServers((server.endpoint,), username="a", password="a")
            with pytest.raises(StoreUnavailable, match=r"JetStream|jetstream"):
                await NatsKvStore(StoreTarget(), servers=servers, timeout=SHORT).__aenter__()


async def test_the_rights_that_the_guide_names_are_enough(tmp_path: Path) -> None:
    rights = 'publish: ["$KV.>", "$JS.API.>"], subscribe: ["_INBOX.>"]'
    users = f"authorization {{ users: [{{ user: p, password: p, permissions: {{ {rights} }} }}] }}"
    with running_nats(tmp_path, more=users) as server:
        servers = NatsServers((server.endpoint,), username="p", password="p")
        async with NatsKvStore(StoreTarget(), servers=servers) as store:
            revision = await store.save(record("u1"), expected=None)
            assert await collect(store.all()) == ["u1"]
            await store.delete("u1", expected=revision)
            await store.remember_answer("virusscan", NOW)
            assert await store.answered() == {"virusscan": NOW}


@pytest.fixture
def installed() -> tuple[int, ...]:
    """The version of the server, as it prints it."""
    printed = subprocess.run(["nats-server", "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, printed.strip().rpartition("v")[2].split(".")))


async def test_a_server_that_may_lose_changes_of_this_bucket_is_told_of(
    store: NatsKvStore, installed: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []

    def keeps_conditions(version: tuple[int, ...], info: Info) -> bool:
        seen.append(version)
        return info.config.num_replicas > 1  # the other way round

    monkeypatch.setattr("penstock.store.streams.store.keeps_conditions", keeps_conditions)
    with capture_logs() as lines:
        async with store:
            pass
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["store_may_lose_changes"]
    assert seen == [installed]


async def test_answers_that_cannot_be_read_are_passed_over(store: NatsKvStore, client: Client, new_bucket: str) -> None:
    async with store:
        await store.remember_answer("virusscan", NOW)
        await client.jetstream().publish(f"$KV.{new_bucket}_answers.x", b"?")
        assert await store.answered() == {"virusscan": NOW}


async def test_a_bucket_in_memory_and_with_an_age_is_made_when_asked_for(
    nats_server: NatsServer, new_bucket: str, client: Client
) -> None:
    target = StoreTarget(database=new_bucket, persistent=False, ttl=timedelta(seconds=30))
    async with NatsKvStore(target, servers=nats_server.servers):
        config = (await client.jetstream().stream_info(f"KV_{new_bucket}")).config
    assert (config.storage, config.max_age, config.duplicate_window) == ("memory", 30, 30)


async def next_due(store: NatsKvStore, expected: Any) -> bool:
    return bool(await store.next_due() == expected)


async def holds(client: Client, bucket: str, expected: int) -> bool:
    count: int = await messages(client, bucket)
    return count == expected


async def no_consumer(client: Client, stream: str) -> bool:
    consumers: int = (await client.jetstream().stream_info(stream)).state.consumer_count
    return consumers == 0


async def configuration(server: NatsServer) -> Any:
    client = await nats.connect(server.endpoint)
    answer = json.loads((await client.request("$JS.API.STREAM.INFO.KV_postprocessing", timeout=60)).data)
    await client.close()
    return answer["config"]
