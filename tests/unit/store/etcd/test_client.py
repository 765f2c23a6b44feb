"""Nodes that are away, slow or strange, and logins."""

from __future__ import annotations

import asyncio
import base64
import time
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from penstock.errors import ConfigurationError
from penstock.store.base import Revision, RevisionConflict, StoreUnavailable
from penstock.store.etcd import EtcdStore, keys
from penstock.store.target import StoreTarget
from penstock.testing import eventually
from penstock.testing.store_contract.records import NOW, SECOND, collect, record
from tests.servers.etcd import EtcdNode, running_cluster, running_etcd
from tests.servers.nats import Certificate
from tests.servers.ports import free_ports
from tests.unit.store.outages import CALLS, reached

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from penstock.store.base import ProgressStore

PASSWORD = "s3cret, with ü"


@pytest.fixture
def own_etcd(tmp_path: Path) -> Iterator[EtcdNode]:
    """One that the test may stop, and whose users it may change."""
    with running_etcd(tmp_path) as node:
        yield node


def store_at(*nodes: str, seconds: float = 10, username: str = "", password: str = "") -> EtcdStore:
    target = StoreTarget(nodes=nodes, username=username, password=password)
    return EtcdStore(target, timeout=timedelta(seconds=seconds))


def require_login(etcd: EtcdNode) -> None:
    """Have etcd ask for a user and password from now on."""
    for user in ("root", "penstock"):
        etcd.call("auth/user/add", {"name": user, "password": PASSWORD})
    etcd.call("auth/user/grant", {"user": "root", "role": "root"})
    etcd.call("auth/role/add", {"name": "nothing"})
    etcd.call("auth/user/grant", {"user": "penstock", "role": "nothing"})
    etcd.call("auth/enable", {})


async def test_while_etcd_is_away_all_calls_say_so_and_afterwards_all_work(own_etcd: EtcdNode) -> None:
    async with store_at(own_etcd.address) as store:
        await store.save(record("u0"), expected=None)
        own_etcd.kill()
        for call in CALLS:
            with pytest.raises(StoreUnavailable, match=r"etcd at http://127\.0\.0\.1"):
                await call(store)
        await asyncio.to_thread(own_etcd.start_again)
        for call in CALLS:
            await call(store)
        assert await collect(store.all()) == ["u0", "u1"]
    with pytest.raises(StoreUnavailable, match="is not open"):
        await store.get("u0")


async def test_an_etcd_that_hangs_is_not_waited_for_longer_than_the_limit(own_etcd: EtcdNode) -> None:
    async with store_at(own_etcd.address, seconds=1) as store:
        own_etcd.freeze()
        began = time.monotonic()
        results = await asyncio.gather(*(call(store) for call in CALLS), return_exceptions=True)
        assert time.monotonic() - began < 60
        assert {type(result) for result in results} == {StoreUnavailable}
        own_etcd.thaw()
        await eventually(lambda: _works(store))


async def test_nothing_is_lost_or_done_twice_when_etcd_is_killed_in_mid_run(own_etcd: EtcdNode) -> None:
    async with store_at(own_etcd.address) as one, store_at(own_etcd.address) as other:
        uploads = [f"u{number}" for number in range(8)]
        for upload in uploads:
            await one.save(record(upload, due=SECOND), expected=None)
        counted = dict.fromkeys(uploads, 0)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for number, upload in enumerate(uploads):
                tasks.create_task(_count_until(stop, one if number % 2 else other, upload, counted))
            for _ in range(2):
                goal = {upload: number + 6 for upload, number in counted.items()}
                await eventually(partial(reached, counted, goal))
                own_etcd.kill()
                await asyncio.to_thread(own_etcd.start_again)
            stop.set()
        held = {saved.progress.upload_id: saved.progress.failures async for saved in one.all()}
        assert held == counted
        assert len(await one.due(NOW + SECOND * 10**6, limit=100)) == len(uploads)


async def _count_until(stop: asyncio.Event, store: ProgressStore, upload: str, counted: dict[str, int]) -> None:
    """Add one to a record's failures over and over; after trouble, look whether it was done."""
    while not stop.is_set():
        try:
            saved = await store.get(upload)
            assert saved is not None
            counted[upload] = saved.progress.failures
            number = saved.progress.failures + 1
            await store.save(record(upload, due=SECOND * number, failures=number), expected=saved.revision)
            counted[upload] = number
        except StoreUnavailable:
            await asyncio.sleep(0.01)
    saved = await store.get(upload)
    assert saved is not None
    assert saved.progress.failures - counted[upload] in (0, 1)  # the last one may have been done without an answer
    counted[upload] = saved.progress.failures


async def _works(store: ProgressStore) -> bool:
    try:
        await store.count_by_step()
    except StoreUnavailable:
        return False
    return True


async def test_a_node_that_is_away_is_passed_over(tmp_path: Path, etcd: EtcdNode) -> None:
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    async with store_at(nobody, etcd.address) as store:
        await store.save(record("u1"), expected=None)
        assert await collect(store.all()) == ["u1"]


async def test_another_node_takes_over_when_one_dies_or_hangs(tmp_path: Path) -> None:
    with running_cluster(tmp_path) as nodes:
        async with store_at(*(node.address for node in nodes), seconds=60) as store:
            revision = await store.save(record("u1"), expected=None)
            nodes[0].kill()
            assert await store.get("u1") is not None  # no error: reading is tried again elsewhere
            second = await eventually(lambda: _saves(store, 1, revision), timeout_seconds=60)
            assert second is not None
            await asyncio.to_thread(nodes[0].start_again)
            nodes[1].freeze()
            assert await store.get("u1") is not None
            await eventually(lambda: _saves(store, 2, second), timeout_seconds=60)
            nodes[1].thaw()


async def _saves(store: ProgressStore, failures: int, expected: Revision) -> Revision | None:
    try:
        return await store.save(record("u1", failures=failures), expected=expected)
    except StoreUnavailable:
        return None
    except RevisionConflict:  # it was done, and nobody said so
        saved = await store.get("u1")
        assert saved is not None
        assert saved.progress.failures == failures
        return saved.revision


async def test_a_node_is_believed_by_the_authorities_that_are_named(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    trusted, other = Certificate.make(tmp_path), Certificate.make(tmp_path / "other")
    with running_etcd(tmp_path, certificate=trusted) as node:

        def store(address: str = node.address, **options: Any) -> EtcdStore:
            return EtcdStore(StoreTarget(nodes=(address,), **options))

        for accepted in (
            store(tls=True, tls_ca_file=trusted.certificate),
            store(tls=True, tls_insecure=True),
            store(node.url, tls_ca_file=trusted.certificate),
        ):
            async with accepted:
                await accepted.count_by_step()
        for refused in (
            store(tls=True, tls_ca_file=other.certificate, tls_insecure=True),
            store(tls=True),
            store(),
        ):
            with pytest.raises(StoreUnavailable):
                async with refused:
                    pass


def test_a_file_without_authorities_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    for file in ("missing.pem", "empty.pem"):
        with pytest.raises(ConfigurationError, match=f"store root certificates .*{file}"):
            EtcdStore(StoreTarget(tls=True, tls_ca_file=tmp_path / file))


async def test_an_etcd_that_is_away_at_the_start_is_told() -> None:
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="is not reached"):
        async with store_at(f"127.0.0.1:{free_ports(1)[0]}"):
            pass
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("node", ["http://", "not an address", "127.0.0.1:99999"])
async def test_what_is_no_address_is_told(node: str) -> None:
    with pytest.raises(ConfigurationError, match="Write host:port"):
        async with store_at(node):
            pass


async def test_the_user_and_the_password_are_used_and_tokens_are_renewed(own_etcd: EtcdNode) -> None:
    require_login(own_etcd)
    async with store_at(own_etcd.address, username="root", password=PASSWORD) as store:
        await asyncio.gather(*(store.save(record(f"u{number}"), expected=None) for number in range(30)))
        own_etcd.kill()
        await asyncio.to_thread(own_etcd.start_again)  # it has forgotten all tokens
        assert len(await collect(store.all())) == 30
        await asyncio.gather(*(store.save(record(f"v{number}"), expected=None) for number in range(30)))
        assert len(await collect(store.all())) == 60


@pytest.mark.parametrize(
    ("username", "password", "reason"),
    [
        ("", "", "user name is empty"),
        ("root", "wrong", "invalid user ID or password"),
        ("penstock", PASSWORD, "permission denied"),
    ],
)
async def test_a_login_that_is_wrong_ends_the_start(
    own_etcd: EtcdNode, username: str, password: str, reason: str
) -> None:
    require_login(own_etcd)
    with pytest.raises(ConfigurationError, match=reason) as raised:
        async with store_at(own_etcd.address, username=username, password=password):
            pass
    assert PASSWORD not in str(raised.value)


async def test_three_prefixes_are_all_that_a_user_needs(own_etcd: EtcdNode) -> None:
    own_etcd.call("auth/role/add", {"name": "three"})
    for prefix in (b"//.prefix/", b"//.suffix/", b"/penstock/"):
        start, end = (base64.b64encode(key).decode() for key in (prefix, keys.after_all(prefix)))
        permission = {"permType": "READWRITE", "key": start, "range_end": end}
        own_etcd.call("auth/role/grant", {"name": "three", "perm": permission})
    require_login(own_etcd)
    token = own_etcd.call("auth/authenticate", {"name": "root", "password": PASSWORD})["token"]
    own_etcd.call("auth/user/grant", {"user": "penstock", "role": "three"}, token=token)
    async with store_at(own_etcd.address, username="penstock", password=PASSWORD) as store:
        for call in CALLS:
            await call(store)
        revision = await store.save(record("u2", due=-SECOND), expected=None)
        assert [saved.revision for saved in await store.due(NOW, limit=5)] == [revision]
        await store.delete("u2", expected=revision)


async def test_a_login_that_is_asked_for_later_is_made_then(own_etcd: EtcdNode) -> None:
    async with store_at(own_etcd.address, username="root", password=PASSWORD) as store:  # nobody asks for it yet
        await store.save(record("u1"), expected=None)
        require_login(own_etcd)
        assert await collect(store.all()) == ["u1"]


@asynccontextmanager
async def answering(status: int, body: bytes) -> AsyncIterator[str]:
    """Somebody who gives one and the same HTTP answer to everything."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        writer.write(b"HTTP/1.1 %d x\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (status, len(body)) + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"<html>", "not an answer of etcd"),
        (404, b"404 page not found", "HTTP status 404"),
        (503, b'{"code":14,"message":"etcdserver: no leader"}', "no leader"),
        (500, b'{"code":8,"error":"etcdserver: mvcc: database space exceeded"}', "space exceeded"),
    ],
)
async def test_what_is_not_answered_as_etcd_would_is_no_answer(
    etcd: EtcdNode, status: int, body: bytes, words: str
) -> None:
    async with answering(status, body) as node, EtcdStore(StoreTarget(nodes=(node,)))._client as client:
        with pytest.raises(StoreUnavailable, match=words):
            await client.range(b"a", b"b", limit=1)


async def test_a_change_that_a_node_may_have_made_is_not_tried_on_another(etcd: EtcdNode) -> None:
    async with answering(503, b'{"code":14,"message":"etcdserver: request timed out"}') as node:
        client = EtcdStore(StoreTarget(nodes=(node, etcd.address)))._client
        async with client:
            with pytest.raises(StoreUnavailable, match="request timed out"):
                await client.write([], [{"request_put": {"key": b"k"}}])
            assert etcd.content() == {}
            await client.write([], [{"request_put": {"key": b"k"}}])  # the next one goes to the other
            assert etcd.content() == {b"k": b""}
