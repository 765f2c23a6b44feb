"""Takes over uploads in flight from the Go services on NATS, and leaves them as those do: the golden captures."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from penstock.core.machine import decide
from penstock.core.policy import Policy
from penstock.core.progress import FINISHED, Progress, State
from penstock.events.types import Envelope, PostprocessingStepFinished, UploadReady
from penstock.ids import new_event_id
from penstock.store.base import ProgressStore, RevisionConflict
from penstock.store.nats_kv import NatsKvStore
from penstock.store.nats_object import NatsObjectStore
from penstock.store.target import StoreTarget
from tests.servers.nats import NatsServer

from .captures import capture

NOW = datetime(2026, 6, 1, tzinfo=UTC)
KV = [capture("store-nats-js-kv"), capture("store-nats-js-kv-table-ttl")]
OBJECTS = capture("store-nats-js")["runs"]
OF_GO = 12
"""Keys of a record that Go services know."""


@pytest.fixture
async def client(nats_server: NatsServer) -> AsyncIterator[Client]:
    client = await nats.connect(nats_server.endpoint)
    yield client
    await client.close()


def target(config: dict[str, str], database: str) -> StoreTarget:
    ttl = timedelta(hours=48) if config.get("POSTPROCESSING_STORE_TTL") == "48h" else None
    return StoreTarget(database=database, table=config.get("POSTPROCESSING_STORE_TABLE", ""), ttl=ttl)


async def api(client: Client, verb: str, body: object = None) -> Any:
    answer = await client.request(f"$JS.API.{verb}", b"" if body is None else json.dumps(body).encode(), timeout=60)
    return json.loads(answer.data)


def renamed(captured: Any, before: str, after: str) -> Any:
    """The capture, as it would be in a bucket of another name."""
    text = json.dumps(captured).replace(f".{before}.", f".{after}.").replace(f"_{before}", f"_{after}")
    return json.loads(text.replace(f'\\"bucket\\":\\"{before}\\"', f'\\"bucket\\":\\"{after}\\"'))


async def put_captured(client: Client, captured: dict[str, Any]) -> None:
    """Leave behind what a Go service has left behind."""
    created = await api(client, f"STREAM.CREATE.{captured['stream_config']['name']}", captured["stream_config"])
    assert_configured(created["config"], captured)
    for entry in captured["entries"]:
        lines = entry["headers"].strip().split("\r\n")[1:]
        headers = dict(line.split(": ") for line in lines) or None
        value = entry["value"] if "value" in entry else entry["data"]
        await client.jetstream().publish(entry["subject"], value.encode(), headers=headers)


def assert_configured(config: dict[str, Any], captured: dict[str, Any]) -> None:
    """As captured; newer servers than the one of the captures tell more."""
    newer = {"compression": "none", "consumer_limits": {}}
    assert config in (captured["stream_config"], captured["stream_config"] | newer)


async def everything(client: Client, stream: str) -> dict[str, str]:
    """What a bucket holds, by subject."""
    held = {}
    info = await client.jetstream().stream_info(stream)
    for seq in range(1, info.state.last_seq + 1):
        answer = await api(client, f"STREAM.MSG.GET.{stream}", {"seq": seq})
        if "message" in answer:
            held[answer["message"]["subject"]] = base64.b64decode(answer["message"].get("data", "")).decode()
    return held


def answered(upload_id: str, step: str) -> Envelope:
    event = PostprocessingStepFinished(upload_id=upload_id, finished_step=step, outcome="continue")
    return Envelope(event=event, event_id=new_event_id())


async def act(store: ProgressStore, upload_id: str, received: Envelope) -> Progress | None:
    """Handle an event as the coordinator does."""
    saved = await store.get(upload_id)
    assert saved is not None
    after = decide(saved.progress, received, NOW, Policy(steps=("virusscan", "customstep"))).progress
    if after is None:
        await store.delete(upload_id, expected=saved.revision)
    else:
        await store.save(after, expected=saved.revision)
    return after


async def finish(store: ProgressStore, upload_id: str) -> None:
    """Take an upload that waits for `virusscan` to its end."""
    assert (await act(store, upload_id, answered(upload_id, "virusscan"))) is not None
    assert (after := await act(store, upload_id, answered(upload_id, "customstep"))) is not None
    assert after.status.current_step == FINISHED
    ready = Envelope(event=UploadReady(upload_id=upload_id), event_id=new_event_id())
    assert await act(store, upload_id, ready) is None
    assert await store.get(upload_id) is None


class TestKeyValue:
    @pytest.fixture(params=KV, ids=["plain", "table-ttl"])
    def captured(self, request: pytest.FixtureRequest, new_bucket: str) -> Any:
        return renamed(request.param, request.param["bucket"], new_bucket) | {"bucket": new_bucket}

    @pytest.fixture
    def store(self, captured: dict[str, Any], nats_server: NatsServer) -> NatsKvStore:
        return NatsKvStore(target(captured["config"], captured["bucket"]), servers=nats_server.servers)

    async def test_the_bucket_is_made_as_go_makes_it(
        self, captured: dict[str, Any], store: NatsKvStore, client: Client
    ) -> None:
        async with store:
            info = await api(client, f"STREAM.INFO.{captured['stream_config']['name']}")
        assert_configured(info["config"], captured)

    async def test_uploads_in_flight_are_taken_over_and_finished(
        self, captured: dict[str, Any], store: NatsKvStore, client: Client
    ) -> None:
        await put_captured(client, captured)
        waiting, retried, failed, gone = captured["states"]
        async with store:
            assert await store.count_by_step() == {"virusscan": 2, FINISHED: 1}
            held = await store.get_many(captured["states"])
            assert sorted(held) == sorted([waiting, retried, failed])
            assert held[waiting].progress.state is State.STEP
            assert held[retried].progress.state is State.BACKOFF
            assert held[failed].progress.state is State.FAILED
            assert await store.get(gone) is None
            assert all(saved.progress.neglected(NOW) for one, saved in held.items() if one != failed)
            await finish(store, waiting)
            await finish(store, retried)
            assert [saved.progress.upload_id async for saved in store.all()] == [failed]

    async def test_what_we_write_is_what_go_writes(
        self, captured: dict[str, Any], store: NatsKvStore, client: Client
    ) -> None:
        """Each captured record, read and written by us: same keys, same form, the same twelve fields in their order."""
        await put_captured(client, captured)
        async with store:
            async for saved in store.all():
                await store.save(saved.progress, expected=saved.revision)
        held = await everything(client, captured["stream_config"]["name"])
        assert set(held) == {entry["subject"] for entry in captured["entries"]}
        for entry in captured["entries"]:
            value = held[entry["subject"]]
            if not entry["value"]:
                assert value == ""
                continue
            before, data, after = value.partition(json.loads(value)["data"])
            assert f"{before}{json.loads(entry['value'])['data']}{after}" == entry["value"]
            assert_is_gos_record(base64.b64decode(data).decode(), entry["record"])

    async def test_a_go_instance_that_writes_in_between_is_noticed(
        self, captured: dict[str, Any], store: NatsKvStore, client: Client
    ) -> None:
        await put_captured(client, captured)
        upload, entry = next(iter(captured["states"])), captured["entries"][0]
        async with store:
            await act(store, upload, answered(upload, "virusscan"))
            ours = await store.get(upload)
            assert ours is not None
            await client.jetstream().publish(entry["subject"], entry["value"].encode())  # without a condition, as Go
            with pytest.raises(RevisionConflict):
                await store.save(ours.progress, expected=ours.revision)
            with pytest.raises(RevisionConflict):
                await store.delete(upload, expected=ours.revision)
            theirs = await store.get(upload)
            assert theirs is not None
            assert theirs.progress.status.current_step == "virusscan"
            assert theirs.progress.neglected(NOW)  # what was ours is gone, and that is seen
            await finish(store, upload)

    async def test_a_removal_is_written_as_go_writes_it(
        self, captured: dict[str, Any], store: NatsKvStore, client: Client
    ) -> None:
        await put_captured(client, captured)
        entry, marker = captured["entries"][0], captured["entries"][3]
        async with store:
            saved = await store.get(next(iter(captured["states"])))
            assert saved is not None
            await store.delete(saved.progress.upload_id, expected=saved.revision)
            message = await client.jetstream().get_last_msg(captured["stream_config"]["name"], entry["subject"])
            raw = await api(
                client, f"STREAM.MSG.GET.{captured['stream_config']['name']}", {"last_by_subj": entry["subject"]}
            )
        assert message.data is None
        headers = dict(
            line.split(": ") for line in base64.b64decode(raw["message"]["hdrs"]).decode().split("\r\n")[1:-2]
        )
        condition = headers.pop("Nats-Expected-Last-Subject-Sequence")
        assert int(condition) == saved.revision
        assert "NATS/1.0\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n" == marker["headers"]


class TestObjects:
    @pytest.fixture(params=OBJECTS, ids=["plain", "table-ttl"])
    def captured(self, request: pytest.FixtureRequest, new_bucket: str) -> Any:
        database = request.param["config"].get("POSTPROCESSING_STORE_DATABASE", "postprocessing")
        return renamed(request.param, database, new_bucket) | {"bucket": new_bucket}

    @pytest.fixture
    def store(self, captured: dict[str, Any], nats_server: NatsServer) -> NatsObjectStore:
        return NatsObjectStore(target(captured["config"], captured["bucket"]), servers=nats_server.servers)

    async def test_the_bucket_is_made_as_go_makes_it(
        self, captured: dict[str, Any], store: NatsObjectStore, client: Client
    ) -> None:
        async with store:
            info = await api(client, f"STREAM.INFO.{captured['stream_config']['name']}")
        assert_configured(info["config"], captured)

    async def test_uploads_in_flight_are_taken_over_and_finished(
        self, captured: dict[str, Any], store: NatsObjectStore, client: Client
    ) -> None:
        await put_captured(client, captured)
        waiting = json.loads(captured["entries"][0]["data"])["ID"]
        async with store:
            assert [saved.progress.upload_id async for saved in store.all()] == [waiting]
            assert await store.get(captured["deleted_after_upload_ready"]) is None
            await finish(store, waiting)
            assert await store.count_by_step() == {}
        held = await everything(client, captured["stream_config"]["name"])
        assert all(json.loads(meta)["deleted"] for meta in held.values())  # no chunk is left

    async def test_what_we_write_is_what_go_writes(
        self, captured: dict[str, Any], store: NatsObjectStore, client: Client
    ) -> None:
        await put_captured(client, captured)
        chunk, meta, deleted = captured["entries"]
        async with store:
            saved = await store.get(json.loads(chunk["data"])["ID"])
            assert saved is not None
            await store.save(saved.progress, expected=saved.revision)
        held = await everything(client, captured["stream_config"]["name"])
        assert held.pop(deleted["subject"]) == deleted["data"]
        ours, before = json.loads(held.pop(meta["subject"])), json.loads(meta["data"])
        (data,) = held.values()
        assert list(ours) == list(before)
        assert ours["nuid"] != before["nuid"]
        assert len(ours["nuid"]) == len(before["nuid"])
        digest = base64.urlsafe_b64encode(hashlib.sha256(data.encode()).digest()).decode()
        assert ours | {"nuid": before["nuid"]} == before | {"size": len(data), "digest": f"SHA-256={digest}"}
        assert set(held) == {chunk["subject"].replace(before["nuid"], ours["nuid"])}
        assert_is_gos_record(data, chunk["data"])

    async def test_a_removal_is_written_as_go_writes_it(
        self, captured: dict[str, Any], store: NatsObjectStore, client: Client
    ) -> None:
        await put_captured(client, captured)
        chunk, meta, deleted = captured["entries"]
        async with store:
            saved = await store.get(json.loads(chunk["data"])["ID"])
            assert saved is not None
            await store.delete(saved.progress.upload_id, expected=saved.revision)
        held = await everything(client, captured["stream_config"]["name"])
        same = {name: json.loads(meta["data"])[name] for name in ("name", "nuid")}
        assert list(json.loads(held[meta["subject"]]).items()) == list((json.loads(deleted["data"]) | same).items())
        assert chunk["subject"] not in held

    async def test_a_go_instance_that_writes_in_between_is_noticed(
        self, captured: dict[str, Any], store: NatsObjectStore, client: Client
    ) -> None:
        await put_captured(client, captured)
        chunk, meta, _ = captured["entries"]
        async with store:
            saved = await store.get(json.loads(chunk["data"])["ID"])
            assert saved is not None
            theirs = await client.jetstream().object_store(captured["bucket"])
            await theirs.put(json.loads(meta["data"])["name"], chunk["data"].encode())
            with pytest.raises(RevisionConflict):
                await store.save(saved.progress, expected=saved.revision)
            with pytest.raises(RevisionConflict):
                await store.delete(saved.progress.upload_id, expected=saved.revision)
            again = await store.get(saved.progress.upload_id)
            assert again is not None
            assert again.revision != saved.revision
            assert again.progress == saved.progress
        held = await everything(client, captured["stream_config"]["name"])
        assert sum(".C." in subject for subject in held) == 1  # what could not be written is not left lying


def assert_is_gos_record(ours: str, theirs: str) -> None:
    """Twelve fields as Go writes them, byte for byte; then ours, which Go passes over."""
    assert ours.startswith(theirs.removesuffix("}") + ",")
    assert list(json.loads(ours))[:OF_GO] == list(json.loads(theirs))
