"""Connections to a real server, and what they survive."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlparse

import pytest
from nats.aio.client import Server
from nats.errors import NoRespondersError, TimeoutError
from structlog.testing import capture_logs

from penstock.errors import ConfigurationError
from penstock.jetstream import NatsClient, NatsServers, NatsUnavailable, connect
from penstock.jetstream.client import next_server
from penstock.testing.eventually import eventually
from tests.servers.nats import Certificate, NatsServer, running_nats

SHORT = timedelta(seconds=0.5)
USER = ("penstock", "let me in")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate.make(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[NatsServer]:
    with running_nats(tmp_path_factory.mktemp("nats"), certificate=certificate, user=USER) as server:
        yield server


async def _answers(client: NatsClient) -> bool:
    """Whether something can be said and heard."""
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    inbox = client.new_inbox()
    await client.subscribe(inbox, future=got)

    async def heard() -> bool:
        await client.publish(inbox, b"hello")  # again, for what is said while it connects anew may be lost
        return got.done()

    return await eventually(heard)


async def test_a_server_is_found_among_several_endpoints(plain: NatsServer) -> None:
    servers = NatsServers(("127.0.0.1:1", plain.endpoint, "127.0.0.1:2"))
    for _ in range(3):  # they are tried in any order
        async with connect(servers, name="test") as client:
            assert await _answers(client)


async def test_tls_with_user_and_password(guarded: NatsServer) -> None:
    async with connect(guarded.servers, name="test") as client:
        assert await _answers(client)
        assert client.connected_url is not None


async def test_tls_without_verification(guarded: NatsServer) -> None:
    async with connect(replace(guarded.servers, tls_ca_file=None, tls_insecure=True), name="test") as client:
        assert await _answers(client)


async def test_a_root_certificate_turns_insecure_off(guarded: NatsServer, tmp_path: Path) -> None:
    other = Certificate.make(tmp_path)
    servers = replace(guarded.servers, tls_ca_file=other.certificate, tls_insecure=True)
    with pytest.raises(ConfigurationError, match="did not sign its certificate"):
        async with connect(servers, name="test"):
            pass


async def test_an_unknown_certificate_is_refused(guarded: NatsServer) -> None:
    for servers in (replace(guarded.servers, tls_ca_file=None), replace(guarded.servers, tls_ca_file=None, tls=False)):
        with pytest.raises(ConfigurationError, match="the system's authorities did not sign"):
            async with connect(servers, name="test"):
                pass


async def test_a_wrong_password_is_named_and_not_shown(guarded: NatsServer) -> None:
    with pytest.raises(ConfigurationError, match="user 'penstock' is refused") as caught:
        async with connect(replace(guarded.servers, password="hunter2"), name="test"):
            pass
    assert "hunter2" not in str(caught.value)


async def test_a_user_name_without_a_password_does_not_count(guarded: NatsServer) -> None:
    with capture_logs() as logs, pytest.raises(ConfigurationError, match="a client without a user is refused"):
        async with connect(replace(guarded.servers, password=""), name="test"):
            pass
    assert [line["event"] for line in logs] == ["nats_credentials_ignored"]


async def test_a_server_without_tls_is_not_talked_to_when_tls_is_asked_for(plain: NatsServer) -> None:
    for servers in (replace(plain.servers, tls=True, tls_insecure=True), NatsServers((f"tls://{plain.endpoint}",))):
        with pytest.raises(ConfigurationError, match="the server offers none"):
            async with connect(servers, name="test"):
                pass


async def test_nobody_there_is_said_after_a_while() -> None:
    with pytest.raises(NatsUnavailable, match=r"NATS at 127\.0\.0\.1:1: no connection within 0\.5 s"):
        async with connect(NatsServers(("127.0.0.1:1",)), name="test", patience=SHORT):
            pass


async def test_a_server_that_starts_late_is_waited_for(tmp_path: Path) -> None:
    with running_nats(tmp_path) as server:
        server.kill()

        async def use() -> bool:
            async with connect(server.servers, name="test") as client:
                return await _answers(client)

        with capture_logs() as logs:
            waiting = asyncio.create_task(use())
            await eventually(lambda: any(line["event"] == "nats_not_reachable" for line in logs))
            await asyncio.to_thread(server.start_again)
            assert await waiting


async def test_a_server_that_dies_and_comes_back(tmp_path: Path) -> None:
    with running_nats(tmp_path) as server, capture_logs() as logs:
        async with connect(server.servers, name="test") as client:
            got: list[bytes] = []

            async def heard(message: object) -> None:
                got.append(message.data)  # type: ignore[attr-defined]

            await client.subscribe("subject", cb=heard)
            for turn in range(2):
                server.kill()
                await eventually(lambda: not client.is_connected)
                await asyncio.to_thread(server.start_again)
                await eventually(
                    lambda turn=turn: sum(line["event"] == "nats_reconnected" for line in logs) > turn  # type: ignore[misc]
                )
                await client.publish("subject", b"%d" % turn)
                await eventually(lambda: bool(got))
                assert got.pop() == b"%d" % turn
    events = [line["event"] for line in logs]
    assert (events.count("nats_disconnected"), events.count("nats_reconnected")) == (2, 2)


async def test_nothing_is_left_of_an_attempt_that_was_not_answered(tmp_path: Path) -> None:
    """What is left open is a warning when it is collected, and warnings are errors."""
    attempts = 0

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        writer.close()

    with running_nats(tmp_path) as server:
        async with connect(server.servers, name="test") as client:
            server.kill()
            await eventually(lambda: not client.is_connected)
            mute = await asyncio.start_server(say_nothing, "127.0.0.1", server.port)
            await eventually(lambda: attempts > 2)
            mute.close()
            await mute.wait_closed()
            await asyncio.to_thread(server.start_again)
            await eventually(lambda: client.is_connected)
            assert await _answers(client)
    gc.collect()


async def test_an_error_of_the_server_does_not_end_the_connection_for_good(plain: NatsServer) -> None:
    async with connect(plain.servers, name="test") as client:
        with capture_logs() as logs:
            await client._send_command(b"NONSENSE\r\n")
            await client._flush_pending()
            await eventually(lambda: any(line["event"] == "nats_reconnected" for line in logs))
        assert await _answers(client)


async def test_what_is_said_to_a_connection_that_was_just_lost_is_said_on_the_next(plain: NatsServer) -> None:
    async with connect(plain.servers, name="test") as client:
        heard: list[bytes] = []
        client.listen("a.subject", lambda _subject, _reply, data, _headers: heard.append(data))
        client.abort()
        assert client.is_connected  # as far as it knows
        client.send(b"a.subject", b"still here")
        await eventually(lambda: heard == [b"still here"])


async def test_a_frozen_server_is_given_up_for_another(
    plain: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.jetstream.connection._PING_SECONDS", 0.3)
    with running_nats(tmp_path) as other:
        async with connect(other.servers, name="test") as client:
            client.set_server_pool([f"nats://{plain.endpoint}"])
            other.freeze()
            await eventually(lambda: client.is_connected and client.stats["reconnects"] >= 1)
            assert await _answers(client)


async def test_a_pong_that_nobody_waits_for_any_more_does_no_harm(plain: NatsServer) -> None:
    async with connect(plain.servers, name="test") as client:
        given_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        given_up.cancel()
        await client._send_ping(given_up)
        assert await _answers(client)
        assert client.stats["reconnects"] == 0


async def test_leaving_sends_what_was_said_last(plain: NatsServer) -> None:
    async with connect(plain.servers, name="listener") as listener:
        subscription = await listener.subscribe("last-words")
        await listener.flush()
        async with connect(plain.servers, name="test") as client:
            for number in range(100):
                await client.publish("last-words", b"%d" % number)
        last = [await subscription.next_msg() for _ in range(100)]
    assert last[-1].data == b"99"


async def test_requests_fail_where_nobody_answers(plain: NatsServer) -> None:
    async with connect(plain.servers, name="test") as client:
        with pytest.raises((NoRespondersError, TimeoutError)):
            await client.request("nobody", b"", timeout=30)


def test_pauses_between_tries_grow_to_five_seconds() -> None:
    def after(failures: int) -> float:
        return next_server([Server(uri=urlparse("nats://a:1"), reconnects=failures)], {})[1]

    assert after(0) == 0
    assert 0.025 <= after(1) <= 0.05
    assert 2.5 <= after(50) <= 5.0


async def test_a_cancellation_at_the_moment_of_an_answer_is_not_lost(plain: NatsServer) -> None:
    async with connect(plain.servers, name="test") as client:

        async def answer(message: object) -> None:
            # Both become known to the asking task in one turn of the event loop.
            asking.cancel()
            await client._request_sub_callback(SimpleNamespace(subject=message.reply, headers=None))  # type: ignore[attr-defined,arg-type]

        await client.subscribe("question", cb=answer)
        asking = asyncio.create_task(client.request("question", b"", timeout=60))
        with pytest.raises(asyncio.CancelledError):
            await asking
