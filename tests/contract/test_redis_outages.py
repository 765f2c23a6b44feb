"""What the store in Redis does when the server dies, stands still, refuses us, or is set up to forget."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from penstock.errors import ConfigurationError
from penstock.store.base import RevisionConflict, Saved, StoreUnavailable
from penstock.store.redis import RedisStore
from penstock.store.target import StoreTarget
from penstock.testing import eventually
from penstock.testing.store_contract.records import NOW, SECOND, collect, record, save_all
from tests.servers.nats import Certificate
from tests.servers.redis import RedisProcess, running_redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("redis")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisProcess]:
    with running_redis(tmp_path / "redis", "appendonly yes\nappendfsync always\n") as server:
        yield server


def store_on(node: str, *, timeout: timedelta = timedelta(seconds=4), **target: object) -> RedisStore:
    return RedisStore(StoreTarget(nodes=(node,), **target), timeout=timeout)  # type: ignore[arg-type]  # as it says


async def answers(store: RedisStore) -> bool:
    try:
        await store.get("u0")
    except StoreUnavailable:
        return False
    return True


async def test_a_server_that_is_killed_and_started_again_still_has_what_it_confirmed(server: RedisProcess) -> None:
    async with store_on(server.node) as store:
        told: dict[str, int] = {}

        async def save_for_ever(name: int) -> None:
            for number in range(100_000):
                upload = f"u{name}-{number}"
                told[upload] = await store.save(record(upload, due=SECOND), expected=None)

        savers = [asyncio.create_task(save_for_ever(name)) for name in range(8)]
        await eventually(lambda: len(told) > 300)
        server.kill()
        ended = await asyncio.wait_for(asyncio.gather(*savers, return_exceptions=True), 60)
        assert {type(one) for one in ended} == {StoreUnavailable}
        with pytest.raises(StoreUnavailable, match=server.node):
            await store.next_due()
        server.start_again()
        await eventually(lambda: answers(store))
        held = {saved.progress.upload_id: saved.revision async for saved in store.all()}
        assert told.items() <= held.items()
        assert await store.count_by_step() == {"virusscan": len(held)}
        await store.save(record("and it still works"), expected=None)


async def test_connections_that_were_lost_meanwhile_do_not_fail_a_call(server: RedisProcess) -> None:
    async with store_on(server.node) as store:
        await asyncio.gather(*(store.save(record(f"u{number}"), expected=None) for number in range(40)))
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start_again)
        results = await asyncio.gather(*(store.get(f"u{number}") for number in range(40)))
        assert all(results)


async def test_a_server_that_stands_still_is_waited_for_no_longer_than_agreed(server: RedisProcess) -> None:
    async with store_on(server.node, timeout=timedelta(seconds=1)) as store:
        revision = await store.save(record("u0"), expected=None)
        server.pause()
        began = time.monotonic()
        calls = [store.get("u0"), store.save(record("u0", failures=1), expected=revision), store.count_by_step()] * 20
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(result) for result in results} == {StoreUnavailable}
        assert time.monotonic() - began < 60
        server.go_on()
        await eventually(lambda: answers(store))
        saved = await store.get("u0")
        assert saved is not None
        assert saved.progress.failures in (0, 1)  # nobody was told which
        await store.save(record("u0", failures=2), expected=saved.revision)


async def test_a_server_that_is_not_there_is_said_so_at_once(server: RedisProcess) -> None:
    server.kill()
    with pytest.raises(StoreUnavailable, match=server.node):
        async with store_on(server.node):
            pass


async def test_a_server_without_memory_refuses_and_half_of_nothing_is_written(server: RedisProcess) -> None:
    async with store_on(server.node) as store:
        revision = await store.save(record("u0"), expected=None)
        server.ask("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(StoreUnavailable, match="maxmemory"):
            await store.save(record("u1", due=SECOND), expected=None)
        with pytest.raises(StoreUnavailable, match="maxmemory"):
            await store.save(record("u0", due=SECOND), expected=revision)
        assert await store.next_due() is None
        server.ask("CONFIG", "SET", "maxmemory", 0)
        assert await store.get("u0") == Saved(record("u0"), revision)
        assert await collect(store.all()) == ["u0"]


async def test_wrong_passwords_are_named_by_their_setting_and_never_shown(tmp_path: Path) -> None:
    settings = "requirepass s3cret\nuser penstock on >pa/ss@word ~* &* +@all\nappendonly yes\n"
    with running_redis(tmp_path / "redis", settings) as server:
        for target in (
            StoreTarget(nodes=(server.node,)),
            StoreTarget(nodes=(server.node,), password="wr0ng"),
            StoreTarget(nodes=(f"redis://penstock:wr0ng@{server.node}",), password="s3cret"),
            StoreTarget(nodes=(server.node,), username="nobody", password="s3cret"),
        ):
            with pytest.raises(ConfigurationError, match="POSTPROCESSING_STORE_AUTH_USERNAME") as raised:
                async with RedisStore(target):
                    pass
            assert server.node in str(raised.value)
            assert not any(secret in f"{raised.value} {target}" for secret in ("s3cret", "wr0ng"))
        for target in (
            StoreTarget(nodes=(server.node,), password="s3cret"),
            StoreTarget(nodes=(server.node,), username="penstock", password="pa/ss@word"),
            StoreTarget(nodes=(f"redis://penstock:pa%2Fss%40word@{server.node}/3",)),
        ):
            async with RedisStore(target) as store:
                assert await collect(store.all()) == []


async def test_the_url_says_which_database(server: RedisProcess) -> None:
    async with store_on(f"redis://{server.node}/5") as store:
        await store.save(record("u1"), expected=None)
    assert server.ask("DBSIZE") == 0
    assert server.ask("EXISTS", "u1", db=5) == 1
    async with store_on(f"redis://{server.node}?db=5") as store:
        assert await collect(store.all()) == ["u1"]
    with pytest.raises(ConfigurationError, match="DB index is out of range"):
        async with store_on(f"redis://{server.node}/99"):
            pass


async def test_the_permissions_that_the_manual_names_are_enough(server: RedisProcess) -> None:
    rules = ("on", ">pw", "~up*", "~penstock:*", "+@read", "+@write", "+@scripting", "+@connection", "+info")
    server.ask("ACL", "SETUSER", "penstock", *rules)
    with server.client() as client:
        client.set("not ours", "1")
    async with store_on(server.node, table="up", username="penstock", password="pw") as store:
        first, _ = await save_all(store, record("u1", due=-1 * SECOND), record("u2"))
        await store.delete("u1", expected=first)
        await store.remember_answer("virusscan", NOW)
        assert await collect(store.in_step("virusscan")) == ["u2"]
        assert await store.due(NOW, limit=5) == []
        assert await store.answered() == {"virusscan": NOW}
    server.ask("ACL", "SETUSER", "penstock", "-info")
    with capture_logs() as lines:
        async with store_on(server.node, table="up", username="penstock", password="pw") as store:
            assert await store.count_by_step() == {"virusscan": 1}
    assert [line["event"] for line in lines] == ["redis_settings_not_shown"]


async def test_settings_with_which_a_server_forgets_are_warned_of(server: RedisProcess) -> None:
    with capture_logs() as lines:
        async with store_on(server.node):
            pass
        assert lines == []
        server.ask("CONFIG", "SET", "appendonly", "no")
        server.ask("CONFIG", "SET", "maxmemory", "100mb")
        server.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        async with store_on(server.node, ttl=timedelta(hours=48)):
            pass
    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("warning", "redis_without_append_only_file"),
        ("warning", "redis_evicts"),
        ("warning", "redis_ignores_ttl"),
    ]
    assert lines[1]["policy"] == "allkeys-lru"


async def test_an_encrypted_connection_goes_only_to_who_can_prove_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Certificate.make(tmp_path)
    settings = f"tls-cert-file {made.certificate}\ntls-key-file {made.key}\ntls-auth-clients no\nappendonly yes\n"
    with running_redis(tmp_path / "redis", settings, tls=True) as server:
        with pytest.raises(StoreUnavailable, match=r"(?i)certificate"):
            async with store_on(f"rediss://{server.node}"):
                pass
        async with store_on(f"rediss://{server.node}?skip_verify=true") as store:
            await store.save(record("u1"), expected=None)
        async with store_on(server.node, tls=True, tls_ca_file=made.certificate) as store:
            assert await collect(store.all()) == ["u1"]
        async with store_on(server.node, tls=True, tls_insecure=True) as store:
            assert await collect(store.all()) == ["u1"]
        with pytest.raises(StoreUnavailable, match=r"(?i)certificate"):
            async with store_on(server.node, tls=True):
                pass
        with pytest.raises(ConfigurationError, match="no such file"):
            store_on(server.node, tls=True, tls_ca_file=tmp_path / "missing.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(made.certificate))
        async with store_on(f"rediss://{server.node}/0") as store:
            assert await collect(store.all()) == ["u1"]


async def test_far_more_calls_than_connections_are_all_answered(server: RedisProcess) -> None:
    async with store_on(server.node) as store:
        revision = await store.save(record("u0"), expected=None)
        results = await asyncio.gather(*(store.get("u0") for _ in range(1000)))
        assert all(result is not None and result.revision == revision for result in results)
        assert server.client().info("clients")["connected_clients"] <= 20


async def test_a_cancelled_call_leaves_no_answer_for_the_next(server: RedisProcess) -> None:
    async with store_on(server.node) as store:
        await save_all(store, *(record(f"u{number}", filename=f"f{number}") for number in range(50)))
        for number in range(200):
            task = asyncio.create_task(store.get(f"u{number % 50}"))
            for _ in range(number % 12):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            saved = await store.get(f"u{(number + 7) % 50}")
            assert saved is not None
            assert saved.progress.filename == f"f{(number + 7) % 50}"
        with pytest.raises(RevisionConflict):
            await store.save(record("u1"), expected=None)
