"""The object store on NATS: chunks and metas that go together, or do not."""

from __future__ import annotations

import asyncio
import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from structlog.testing import capture_logs

from penstock.store.base import RevisionConflict, Saved, StoreUnavailable
from penstock.store.layout import BadRecord, encode
from penstock.store.nats_object import NatsObjectStore, ObjectBucket
from penstock.store.streams.follower import INTERVAL
from penstock.store.streams.markers import GRACE
from penstock.store.streams.stream import Stream
from penstock.store.target import StoreTarget
from penstock.testing.clock import ManualClock
from penstock.testing.eventually import eventually
from penstock.testing.store_contract.records import NOW, SECOND, collect, ids_of, record
from tests.servers.nats import NatsServer, running_nats

LARGE = "x" * 300_000
"""More than fits into two chunks."""


@pytest.fixture
async def client(nats_server: NatsServer) -> AsyncIterator[Client]:
    client = await nats.connect(nats_server.endpoint)
    yield client
    await client.close()


@pytest.fixture
def store(nats_server: NatsServer, new_bucket: str) -> NatsObjectStore:
    return NatsObjectStore(StoreTarget(database=new_bucket), servers=nats_server.servers)


def meta_of(bucket: str, name: str) -> str:
    return f"$O.{bucket}.M.{urlsafe_b64encode(name.encode()).decode()}"


async def subjects(client: Client, bucket: str, kind: str) -> list[str]:
    info = await client.jetstream().stream_info(f"OBJ_{bucket}", subjects_filter=f"$O.{bucket}.{kind}.>")
    return list(info.state.subjects or {})


async def test_a_large_record_is_read_by_others_and_from_others(
    store: NatsObjectStore, client: Client, new_bucket: str
) -> None:
    async with store:
        revision = await store.save(record("u1", filename=LARGE), expected=None)
        theirs = await client.jetstream().object_store(new_bucket)
        assert (await theirs.get("u1")).data == encode(record("u1", filename=LARGE))
        await theirs.put("u2", encode(record("u2", url=LARGE, due=-SECOND)))
        assert await store.get("u1") == Saved(record("u1", filename=LARGE), revision)
        assert sorted(await collect(store.all())) == ["u1", "u2"]
        assert ids_of(await store.due(NOW, limit=9)) == ["u2"]
        assert len(await subjects(client, new_bucket, "C")) == 2


async def test_former_chunks_do_not_stay(store: NatsObjectStore, client: Client, new_bucket: str) -> None:
    async with store:
        revision = await store.save(record("u1"), expected=None)
        for failures in range(5):
            revision = await store.save(record("u1", failures=failures, filename=LARGE), expected=revision)
        results = await asyncio.gather(
            *(store.save(record("u1", failures=number), expected=revision) for number in range(10)),
            return_exceptions=True,
        )
        assert sum(isinstance(result, RevisionConflict) for result in results) == 9
        assert len(await subjects(client, new_bucket, "C")) == 1
        saved = await store.get("u1")
        assert saved is not None
        await store.delete("u1", expected=saved.revision)
        assert await subjects(client, new_bucket, "C") == []


async def messages(client: Client, bucket: str) -> int:
    return (await client.jetstream().stream_info(f"OBJ_{bucket}")).state.messages


async def test_what_an_instance_has_written_is_replaced_without_a_purge_which_would_throw_readers_back(
    store: NatsObjectStore, client: Client, new_bucket: str
) -> None:
    purged = 0

    async def count(message: Msg) -> None:
        nonlocal purged
        purged += b"M." in message.data or b"C." in message.data

    async with store:
        await client.subscribe(f"$JS.API.STREAM.PURGE.OBJ_{new_bucket}", cb=count)
        await client.flush()
        await client.flush()  # the first one may overtake the subscription, which nats-py sends a moment later
        revision = await store.save(record("u1"), expected=None)
        for failures in range(3):
            revision = await store.save(record("u1", failures=failures, filename=LARGE), expected=revision)
            meta = await client.jetstream().get_last_msg(f"OBJ_{new_bucket}", meta_of(new_bucket, "u1"))
            assert not meta.headers or "Nats-Rollup" not in meta.headers
            assert await messages(client, new_bucket) == 4  # three chunks and a meta
        theirs = await client.jetstream().object_store(new_bucket)
        assert (await theirs.get("u1")).data == encode(record("u1", failures=2, filename=LARGE))
        await store.delete("u1", expected=revision)
        assert await messages(client, new_bucket) == 1
        await client.flush()
        assert purged == 0


async def test_instances_that_write_in_turns_leave_one_version(
    store: NatsObjectStore, client: Client, new_bucket: str
) -> None:
    async with store, NatsObjectStore(StoreTarget(database=new_bucket), servers=store._servers) as other:
        revision = await store.save(record("u1"), expected=None)
        for failures, writer in enumerate([other, store, store, other, other, store]):
            revision = await writer.save(record("u1", failures=failures), expected=revision)
            assert await messages(client, new_bucket) == 2
        theirs = await client.jetstream().object_store(new_bucket)
        await theirs.put("u1", encode(record("u1", failures=9)))
        for writer in (store, other):
            with pytest.raises(RevisionConflict):
                await writer.save(record("u1"), expected=revision)
        saved = await store.get("u1")
        assert saved is not None
        await store.save(record("u1"), expected=saved.revision)
        assert await messages(client, new_bucket) == 2


async def test_a_bucket_that_lets_nothing_be_deleted_is_purged(
    store: NatsObjectStore, client: Client, new_bucket: str
) -> None:
    async with store:
        await store.save(record("u0"), expected=None)
    config = (await client.jetstream().stream_info(f"OBJ_{new_bucket}")).config
    assert config.name
    await client.jetstream().delete_stream(config.name)
    await client.jetstream().add_stream(config, deny_delete=True)
    async with store:
        revision = await store.save(record("u1"), expected=None)
        for failures in range(4):
            revision = await store.save(record("u1", failures=failures), expected=revision)
            assert await messages(client, new_bucket) == 2


async def test_a_former_version_that_a_killed_writer_has_left_does_not_count(
    store: NatsObjectStore, client: Client, new_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with store, NatsObjectStore(StoreTarget(database=new_bucket), servers=store._servers) as other:
        revision = await store.save(record("u1", due=SECOND), expected=None)
        with monkeypatch.context() as killed:
            killed.setattr(Stream, "delete", away)
            revision = await store.save(record("u1", "ocr", failures=1), expected=revision)
        assert await messages(client, new_bucket) == 4
        latest = Saved(record("u1", "ocr", failures=1), revision)
        for reader in (store, other):
            assert [saved async for saved in reader.all()] == [latest]
            assert await reader.get("u1") == latest
            assert await reader.count_by_step() == {"ocr": 1}
            assert await reader.next_due() is None
        async with NatsObjectStore(StoreTarget(database=new_bucket), servers=store._servers):
            assert await messages(client, new_bucket) == 3  # one of them a chunk that nobody reads
        listing = NatsObjectStore(StoreTarget(database=new_bucket), servers=store._servers, indexed=False)
        async with listing:
            assert [saved async for saved in listing.all()] == [latest]
        revision = await store.save(record("u1", "ocr", failures=2), expected=revision)
        assert await messages(client, new_bucket) == 3
        await other.delete("u1", expected=revision)
        assert await collect(store.all()) == []


async def away(stream: Stream, seq: int) -> bool:
    raise StoreUnavailable("away")


async def test_only_the_latest_versions_are_remembered(
    store: NatsObjectStore, client: Client, new_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.store.nats_object._WRITTEN_KNOWN", 2)
    async with store:
        revisions = [await store.save(record(f"u{number}"), expected=None) for number in range(4)]
        for number, revision in enumerate(revisions):
            await store.save(record(f"u{number}", failures=1), expected=revision)
        assert await messages(client, new_bucket) == 8
        assert await collect(store.all()) == ["u0", "u1", "u2", "u3"]


async def test_what_the_stream_only_mentions_is_read_once_it_can_be(
    store: NatsObjectStore, client: Client, new_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A meta whose chunk lies far before it."""
    async with store:
        await store.save(record("u1", due=SECOND), expected=None)
        meta = await client.jetstream().get_last_msg(f"OBJ_{new_bucket}", meta_of(new_bucket, "u1"))
        assert meta.data is not None
        await store.count_by_step()  # the chunk was handed out
        told = json.loads(meta.data) | {"name": "u2"}
        content = encode(record("u2", due=SECOND))
        digest = f"SHA-256={urlsafe_b64encode(hashlib.sha256(content).digest()).decode()}"
        chunk = f"$O.{new_bucket}.C.far"
        await client.jetstream().publish(chunk, content)
        async with NatsObjectStore(StoreTarget(database=new_bucket), servers=store._servers) as other:
            for number in range(1100):  # more than are kept in mind
                await client.publish(f"$O.{new_bucket}.C.orphan{number}", b"x")
            await other.count_by_step()
            told |= {"nuid": "far", "size": len(content), "digest": digest}
            await client.jetstream().publish(meta_of(new_bucket, "u2"), json.dumps(told).encode())
            read = ObjectBucket.read
            monkeypatch.setattr(ObjectBucket, "read", unavailable)
            with pytest.raises(StoreUnavailable):
                await other.count_by_step()
            monkeypatch.setattr(ObjectBucket, "read", read)
            assert await other.count_by_step() == {"virusscan": 2}
            assert sorted(await collect(other.all())) == ["u1", "u2"]


async def unavailable(bucket: ObjectBucket, upload_id: str) -> None:
    raise StoreUnavailable("away")


async def test_a_record_can_be_read_while_it_is_written_over_and_over(store: NatsObjectStore) -> None:
    async with store:
        revision = await store.save(record("u1"), expected=None)

        async def write() -> None:
            last = revision
            for failures in range(40):
                last = await store.save(record("u1", failures=failures), expected=last)

        writing = asyncio.create_task(write())
        while not writing.done():
            try:
                assert await store.get("u1") is not None
            except StoreUnavailable as error:
                assert "written all the time" in str(error)  # noqa: PT017  # it may be either
        await writing


async def test_what_lost_its_content_is_no_record(store: NatsObjectStore, client: Client, new_bucket: str) -> None:
    async with store:
        await store.save(record("u1", due=-SECOND), expected=None)
        await store.save(record("u2", due=-SECOND), expected=None)
        meta = await client.jetstream().get_last_msg(f"OBJ_{new_bucket}", meta_of(new_bucket, "u1"))
        assert meta.data is not None
        chunk = f"$O.{new_bucket}.C.{json.loads(meta.data)['nuid']}"
        await client.jetstream().purge_stream(f"OBJ_{new_bucket}", subject=chunk)
        with pytest.raises(BadRecord):
            await store.get("u1")
        assert await collect(store.all()) == ["u2"]
        await client.jetstream().publish(chunk, encode(record("u1", failures=9)))  # not what the meta tells of
        with pytest.raises(BadRecord):
            await store.get("u1")
        assert ids_of(await store.due(NOW, limit=9)) == ["u2"]


@pytest.mark.parametrize("value", [b"?", b"[]", b'{"nuid":7}', b"{}", b'{"nuid":"none","chunks":3,"size":5}'])
async def test_a_meta_that_tells_of_nothing_is_no_record(
    store: NatsObjectStore, client: Client, new_bucket: str, value: bytes
) -> None:
    async with store:
        await store.save(record("u1"), expected=None)
        await client.jetstream().publish(meta_of(new_bucket, "u1"), value)
        with pytest.raises(BadRecord):
            await store.get("u1")
        with capture_logs() as lines:
            assert await collect(store.all()) == []
        assert {line["event"] for line in lines} == {"record_unreadable"}
    async with store:  # nor does it keep anybody from starting
        assert await store.count_by_step() == {}


async def test_objects_that_are_not_ours_are_passed_over(
    store: NatsObjectStore, client: Client, new_bucket: str, nats_server: NatsServer
) -> None:
    table = NatsObjectStore(StoreTarget(database=new_bucket, table="t"), servers=nats_server.servers)
    async with store, table:
        theirs = await client.jetstream().object_store(new_bucket)
        await theirs.put("t_ours", encode(record("ours")))
        await theirs.put("other_one", encode(record("one")))
        await client.jetstream().publish(f"$O.{new_bucket}.M.x", b"{}")
        assert await collect(table.all()) == ["ours"]
        assert await collect(store.all()) == []


async def test_what_removals_leave_is_purged_after_a_while(
    nats_server: NatsServer, client: Client, new_bucket: str
) -> None:
    clock = ManualClock()
    store = NatsObjectStore(StoreTarget(database=new_bucket), servers=nats_server.servers, clock=clock)
    async with store:
        await eventually(lambda: clock.sleepers == 1)
        revision = await store.save(record("u1"), expected=None)
        await store.delete("u1", expected=revision)
        assert await subjects(client, new_bucket, "M") == [meta_of(new_bucket, "u1")]
        await clock.advance(GRACE + INTERVAL)

        async def purged() -> bool:
            return await subjects(client, new_bucket, "M") == []

        await eventually(purged)
        again = await store.save(record("u1"), expected=None)
        assert await store.get("u1") == Saved(record("u1"), again)


async def test_an_id_that_no_subject_can_hold_is_refused(store: NatsObjectStore) -> None:
    async with store:
        assert await store.get("x" * 4000) is None
        with pytest.raises(BadRecord, match="too long"):
            await store.save(record("x" * 4000), expected=None)


async def test_a_server_that_was_killed_and_comes_back_is_used_again(tmp_path: Path) -> None:
    with running_nats(tmp_path) as server:
        async with NatsObjectStore(StoreTarget(), servers=server.servers) as store:
            revision = await store.save(record("u1", due=SECOND), expected=None)
            server.kill()
            server.start_again()

            async def read() -> Saved | None:
                try:
                    return await store.get("u1")
                except StoreUnavailable:
                    return None

            assert await eventually(read, timeout_seconds=60) == Saved(record("u1", due=SECOND), revision)
            await store.save(record("u1"), expected=revision)
            assert await store.count_by_step() == {"virusscan": 1}


async def test_a_list_is_complete_though_records_are_removed_meanwhile(
    nats_server: NatsServer, new_bucket: str
) -> None:
    """nats-server 2.9 lets a reader leap to the end when anybody removes anything."""

    def instance() -> NatsObjectStore:
        return NatsObjectStore(StoreTarget(database=new_bucket), servers=nats_server.servers, indexed=False)

    async def come_and_go(writer: NatsObjectStore) -> None:
        while True:
            revision = await writer.save(record("another", due=SECOND), expected=None)
            await writer.delete("another", expected=revision)

    async with instance() as writer, instance() as store:
        ids = {f"u{number}" for number in range(400)}
        for upload_id in ids:
            await writer.save(record(upload_id, due=SECOND), expected=None)
        churn = asyncio.create_task(come_and_go(writer))
        try:
            for _ in range(3):
                assert set(await collect(store.all())) - {"another"} == ids
        finally:
            churn.cancel()
            await asyncio.wait({churn})
