from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from penstock.antivirus.base import (
    ByteStream,
    LocalFile,
    Scanner,
    ScannerProtocolError,
    ScannerUnavailable,
    ScanReport,
    ScanTimeout,
    SelfTestFailed,
    Verdict,
)
from penstock.antivirus.eicar import eicar
from penstock.antivirus.icap import IcapScanner, kept
from penstock.antivirus.limits import TimeAllowance
from penstock.errors import ConfigurationError
from penstock.testing import ManualClock
from tests.servers.cicap import DEBIAN_TYPES, running_cicap
from tests.servers.clamd import running_clamd
from tests.servers.fake_icap import CLEAN, INFECTED, OPTIONS, Peer, Script, running_fake
from tests.servers.nats import Certificate

if TYPE_CHECKING:
    from tests.unit.conftest import LetPass

MIB = 1024 * 1024
BIG = bytes(16 * MIB)
"""More than the system takes in for a server that does not read."""
SMALL = b"x" * 100
NO_PREVIEW = OPTIONS.replace(b"Preview: 1024\r\n", b"")
NO_204 = OPTIONS.replace(b"Allow: 204\r\n", b"")
SOON_SECONDS = 60.0


def scanner(url: str, *, proved: bool = True, **options: object) -> IcapScanner:
    """Return one of which it is known, or not, that it looks at large files: a proof is a conversation of its own."""
    clock = ManualClock()
    made = IcapScanner(url, clock=clock, **options)  # type: ignore[arg-type]
    if proved:
        made._limit._keep(2**40, None, clock.monotonic())
    return made


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for begin in range(0, len(data), 100_000):
        yield data[begin : begin + 100_000]


async def scan(client: Scanner, data: bytes, *, seconds: float = 200) -> ScanReport:
    return await client.scan(ByteStream(pieces(data)), size_bytes=len(data), timeout=timedelta(seconds=seconds))


async def scan_with(script: Script, data: bytes, *, options: bytes = OPTIONS, seconds: float = 200) -> ScanReport:
    async with running_fake(script, options=options) as fake, scanner(fake.url) as client:
        return await scan(client, data, seconds=seconds)


def answering(answer: bytes, *, keeps_open: bool = False) -> Script:
    """Read everything, answer, and close, or not."""

    async def script(peer: Peer) -> None:
        peer.fake.requests.append(await peer.request())
        await peer.say(answer)
        if keeps_open:
            await asyncio.Event().wait()

    return script


async def silent(peer: Peer) -> None:
    await peer.request()
    await asyncio.Event().wait()


async def resetting(peer: Peer) -> None:
    await peer.head()
    peer.reset()


async def closing(peer: Peer) -> None:
    await peer.request()


async def clean_unread(peer: Peer) -> None:
    await peer.head()
    await peer.say(CLEAN)
    await asyncio.Event().wait()


async def clean_thrown_away(peer: Peer) -> None:
    await peer.head()
    await peer.say(CLEAN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    peer.reset()


async def clean_after_preview(peer: Peer) -> None:
    await peer.request(go_on=False)
    await peer.say(CLEAN)
    await asyncio.Event().wait()


async def goes_on_twice(peer: Peer) -> None:
    await peer.request(go_on=False)
    await peer.say(b"ICAP/1.0 100 Continue\r\n\r\n" * 2)
    await asyncio.Event().wait()


async def half_an_answer(peer: Peer) -> None:
    await peer.request()
    await peer.say(CLEAN[:-2])
    await asyncio.Event().wait()


@pytest.mark.parametrize("data", [SMALL, BIG[: 3 * MIB]], ids=["within the preview", "more"])
@pytest.mark.parametrize(
    ("script", "error", "message"),
    [
        (answering(b"ICAP/1.0 404 Service not found\r\n\r\n"), ScannerUnavailable, "antivirus_icap_service"),
        (answering(b"ICAP/1.0 500 Server error\r\n\r\n"), ScannerUnavailable, "500 Server error"),
        (answering(b"ICAP/1.0 200 OK\r\n\r\n"), ScannerProtocolError, "does not say what it encapsulates"),
        (answering(b"ICAP/1.0 201 Made\r\n\r\n"), ScannerProtocolError, "no answer to a scan"),
        (
            answering(b"ICAP/1.0 206 Partial\r\nEncapsulated: null-body=0\r\n\r\n"),
            ScannerProtocolError,
            "206 Partial, which is no answer",
        ),
        (answering(b"HTTP/1.1 200 OK\r\n\r\n"), ScannerProtocolError, "status line"),
        (answering(b"\x00\xff garbage"), ScannerProtocolError, "garbage"),
        (answering(b"ICAP/1.0 204 x\r\n" + b"A: b\r\n" * 20_000), ScannerProtocolError, "too long"),
        (answering(b"ICAP/1.0 204 x\r\nno field\r\n\r\n"), ScannerProtocolError, "no field"),
        (answering(b"ICAP/1.0 100 Continue\r\n\r\n"), ScannerProtocolError, "continue"),
        (resetting, ScannerUnavailable, "broke"),
        (closing, ScannerUnavailable, "without an answer"),
        (answering(CLEAN[:20]), ScannerUnavailable, "without an answer"),
    ],
)
async def test_what_is_no_verdict_is_an_error(
    data: bytes, script: Script, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await scan_with(script, data, options=NO_PREVIEW if message == "continue" else OPTIONS)


@pytest.mark.parametrize("script", [silent, half_an_answer])
@pytest.mark.parametrize("data", [SMALL, BIG[: 3 * MIB]], ids=["within the preview", "more"])
async def test_silence_is_given_up_in_time(script: Script, data: bytes) -> None:
    with pytest.raises(ScanTimeout, match=r"0\.3 s"):
        await scan_with(script, data, seconds=0.3)


async def test_clean_of_bytes_that_were_never_read_is_not_clean() -> None:
    report = await scan_with(clean_unread, BIG, options=NO_PREVIEW)
    assert (report.verdict, report.bytes_scanned) == (Verdict.UNSCANNABLE, 0)
    report = await scan_with(clean_unread, BIG)
    assert report.verdict is Verdict.UNSCANNABLE


async def test_clean_of_bytes_that_were_thrown_away_is_an_error() -> None:
    with pytest.raises(ScannerProtocolError, match="threw away"):
        await scan_with(clean_thrown_away, SMALL)


async def test_clean_after_the_preview_is_not_clean_and_says_why() -> None:
    report = await scan_with(clean_after_preview, BIG)
    assert report.verdict is Verdict.UNSCANNABLE
    assert "types and sizes" in report.detail


async def test_to_go_on_is_said_once() -> None:
    with pytest.raises(ScannerProtocolError, match="continue"):
        await scan_with(goes_on_twice, BIG)


@pytest.mark.parametrize("answer", [CLEAN, INFECTED], ids=["clean", "infected"])
@pytest.mark.parametrize("data", [SMALL, BIG], ids=["within the preview", "more"])
async def test_a_server_that_never_closes_is_not_waited_for(answer: bytes, data: bytes) -> None:
    answered_at = 0.0

    async def script(peer: Peer) -> None:
        nonlocal answered_at
        await peer.request()
        answered_at = time.monotonic()
        await answering_endlessly(peer, answer)

    async with running_fake(script) as fake, scanner(fake.url) as client:
        report = await scan(client, data)
        assert time.monotonic() - answered_at < SOON_SECONDS
    assert report.verdict is (Verdict.CLEAN if answer is CLEAN else Verdict.INFECTED)


async def answering_endlessly(peer: Peer, answer: bytes) -> None:
    await peer.say(answer)
    await asyncio.Event().wait()


async def test_an_infection_that_is_told_early_is_believed_at_once() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say(INFECTED)
        await asyncio.Event().wait()

    began = time.monotonic()
    report = await scan_with(script, BIG, options=NO_PREVIEW)
    assert (report.verdict, report.signature) == (Verdict.INFECTED, "Eicar")
    assert time.monotonic() - began < SOON_SECONDS


async def test_answers_may_come_in_pieces_of_one_byte() -> None:
    folded = INFECTED.replace(b"X-Infection-Found: Type=0;", b"X-Infection-Found:\r\n\tType=0;\r\n ")

    async def script(peer: Peer) -> None:
        peer.writer.get_extra_info("socket").setsockopt(6, 1, 1)  # TCP_NODELAY
        await peer.request()
        for byte in folded:
            await peer.say(bytes([byte]))
            await asyncio.sleep(0)

    report = await scan_with(script, BIG[: 2 * MIB])
    assert (report.verdict, report.signature) == (Verdict.INFECTED, "Eicar")


@pytest.mark.parametrize("size_bytes", [0, 1, 1023, 1024, 1025, 300_000])
@pytest.mark.parametrize("method", ["reqmod", "respmod"])
@pytest.mark.parametrize("options", [OPTIONS, NO_PREVIEW, OPTIONS.replace(b"1024", b"0")])
async def test_the_file_arrives_as_it_is(size_bytes: int, method: str, options: bytes) -> None:
    data = bytes(number % 251 for number in range(size_bytes))
    async with (
        running_fake(answering(CLEAN), options=options) as fake,
        scanner(fake.url, method=method) as client,
    ):
        assert (await scan(client, data)).verdict is Verdict.CLEAN
    [request] = fake.requests
    assert request.data == data
    announced = {OPTIONS: 1024, NO_PREVIEW: None}.get(options, 0)
    if announced is None or not size_bytes:
        assert request.preview is None
    else:
        assert (request.preview, request.ieof) == (min(announced, size_bytes), size_bytes <= announced)
    assert b"\r\nAllow: 204\r\n" in request.head


async def test_a_product_that_answers_previews_without_looking_gets_none() -> None:
    async with running_fake(serving) as fake, scanner(fake.url, profile="fortinet") as client:
        assert (await scan(client, eicar())).verdict is Verdict.INFECTED
    assert [request.preview for request in fake.requests] == [None]


async def serving(peer: Peer) -> None:
    """Answer every request on a connection."""
    head: bytes | None = None
    while True:
        request = await peer.request(head)
        peer.fake.requests.append(request)
        await peer.say(INFECTED if eicar() in request.data else CLEAN)
        if eicar() in request.data:
            return
        head = None


async def test_connections_are_kept_and_options_asked_once() -> None:
    async with running_fake(serving) as fake, scanner(fake.url) as client:
        for _ in range(5):
            assert (await scan(client, SMALL)).verdict is Verdict.CLEAN
        assert (fake.connections, fake.asked_for_options) == (1, 1)
        assert (await scan(client, eicar())).verdict is Verdict.INFECTED
        assert (await scan(client, SMALL)).verdict is Verdict.CLEAN
        assert fake.connections == 2


async def test_options_are_asked_anew_when_what_the_service_knows_has_changed() -> None:
    newer = CLEAN.replace(b"one", b"two")
    async with running_fake(answering(newer)) as fake, scanner(fake.url) as client:
        assert (await scan(client, SMALL)).database_version == "one"
        fake.options = OPTIONS.replace(b"one", b"two")
        assert (await scan(client, SMALL)).database_version == "two"
        await scan(client, SMALL)
    assert fake.asked_for_options == 2


async def test_an_answer_that_nobody_asked_for_is_nobodys() -> None:
    async def script(peer: Peer) -> None:
        request = await peer.request()
        if eicar() in request.data:
            await peer.say(INFECTED)
            return
        await peer.say(CLEAN + CLEAN)
        await asyncio.Event().wait()

    async with running_fake(script) as fake, scanner(fake.url) as client:
        assert (await scan(client, SMALL)).verdict is Verdict.CLEAN
        assert (await scan(client, eicar())).verdict is Verdict.INFECTED
        assert fake.connections == 2


@pytest.mark.parametrize("data", [SMALL, BIG[: 3 * MIB]], ids=["within the preview", "more"])
async def test_a_kept_connection_that_was_closed_meanwhile_costs_nothing(data: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(CLEAN)
        if peer.fake.connections == 1:
            await peer.reader.readexactly(7)  # the next request has begun
            peer.reset()

    async with running_fake(script) as fake, scanner(fake.url) as client:
        for _ in range(2):
            assert (await scan(client, data)).verdict is Verdict.CLEAN
        assert fake.connections == 2


async def dead_after_one(peer: Peer) -> None:
    """Serve one scan; from then on the first connection takes everything and says nothing, as if it led nowhere."""
    number = peer.fake.connections
    peer.fake.requests.append(await peer.request())
    await peer.say(CLEAN)
    if number == 1:
        await asyncio.Event().wait()
    peer.fake.requests.append(await peer.request(await peer.reader.readexactly(7) + await peer.head()))


@pytest.mark.parametrize("data", [SMALL, BIG[: 3 * MIB]], ids=["within the preview", "more"])
@pytest.mark.parametrize("asked", ["when it was idle", "by its silence"])
async def test_a_kept_connection_that_leads_nowhere_costs_little(
    data: bytes, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle = asked == "when it was idle"
    monkeypatch.setattr(kept, "_FRESH_SECONDS", 0.0 if idle else 60.0)
    monkeypatch.setattr(kept, "_CHECK_SECONDS", 0.1)
    monkeypatch.setattr(kept, "_FIRST_SIGN_SECONDS", 60.0 if idle else 0.1)
    async with running_fake(dead_after_one) as fake, scanner(fake.url) as client:
        for _ in range(2):
            assert (await scan(client, data)).verdict is Verdict.CLEAN
        assert fake.connections == 2
        assert [len(request.data) for request in fake.requests] == [len(data)] * 2


async def test_what_is_slow_on_a_new_connection_is_waited_for_and_not_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kept, "_FIRST_SIGN_SECONDS", 0.05)

    async def slow(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(0.3)
        await peer.say(CLEAN)

    async with running_fake(slow) as fake, scanner(fake.url) as client:
        assert (await scan(client, SMALL)).verdict is Verdict.CLEAN
        assert fake.connections == 1


async def test_a_time_limit_that_is_set_may_be_longer_than_what_is_allowed_otherwise() -> None:
    answers = True

    async def slow(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(0.4)
        await (peer.say(CLEAN) if answers else asyncio.Event().wait())

    brief = TimeAllowance(base=timedelta(seconds=0.2), bytes_per_second=10**12)
    async with running_fake(slow) as fake, scanner(fake.url, allowance=brief) as client:
        assert (await scan(client, SMALL)).verdict is Verdict.CLEAN
        answers = False
        with pytest.raises(ScanTimeout):
            await client.scan(ByteStream(pieces(SMALL)), size_bytes=len(SMALL))


@pytest.mark.parametrize("data", [SMALL, BIG[:MIB]], ids=["within the preview", "more"])
async def test_clean_after_the_time_in_which_the_engine_looks_is_no_verdict(data: bytes, let_pass: LetPass) -> None:
    answers = CLEAN

    async def late(peer: Peer) -> None:
        await peer.request()
        let_pass(100)
        await peer.say(answers)

    async with running_fake(late) as fake:
        async with scanner(fake.url, max_scan_time=timedelta(seconds=50)) as client:
            with pytest.raises(ScanTimeout, match="antivirus_icap_max_scan_time"):
                await scan(client, data)
        for enough in (timedelta(seconds=190), None):
            async with scanner(fake.url, max_scan_time=enough) as client:
                assert (await scan(client, data)).verdict is Verdict.CLEAN
        answers = INFECTED
        async with scanner(fake.url, max_scan_time=timedelta(seconds=50)) as client:
            assert (await scan(client, data)).verdict is Verdict.INFECTED


async def test_a_file_of_which_more_is_gone_is_not_asked_again(let_pass: LetPass) -> None:
    has_it_all = asyncio.Event()

    async def silent_at_the_end(peer: Peer) -> None:
        await peer.request()
        await peer.say(CLEAN)
        await peer.request(await peer.reader.readexactly(7) + await peer.head())
        has_it_all.set()
        await asyncio.Event().wait()

    async with running_fake(silent_at_the_end) as fake, scanner(fake.url) as client:
        assert (await scan(client, BIG[: 3 * MIB])).verdict is Verdict.CLEAN
        scanning = asyncio.create_task(scan(client, BIG[: 3 * MIB]))
        await has_it_all.wait()
        let_pass(kept._FIRST_SIGN_SECONDS + 1)
        assert not (await asyncio.wait({scanning}, timeout=0.05))[0]
        let_pass(200)
        with pytest.raises(ScanTimeout):
            await scanning
        assert fake.connections == 1


async def test_a_self_test_uses_no_connection_that_was_kept() -> None:
    async with running_fake(serving) as fake, scanner(fake.url, max_file_bytes=1000) as client:
        await scan(client, SMALL)
        await client.self_test()
        assert fake.connections > 1


async def test_c_icap_is_asked_on_the_connection_that_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_FRESH_SECONDS", 0.0)
    for name in ("clamd", "icap"):
        (tmp_path / name).mkdir()
    with running_clamd(tmp_path / "clamd") as clamd, running_cicap(tmp_path / "icap", clamd) as cicap:
        async with scanner(cicap.url, service="avscan") as client:
            await scan(client, SMALL)
            [connection] = client._kept._idle
            await scan(client, SMALL)
            assert client._kept._idle == [connection]


async def test_a_service_is_given_no_more_than_it_takes() -> None:
    at_once = most = 0

    async def script(peer: Peer) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await peer.request()
        await both.wait()
        at_once -= 1
        await peer.say(CLEAN)

    both = asyncio.Barrier(2)
    few = OPTIONS.replace(b"Allow:", b"Max-Connections: 2\r\nAllow:")
    async with running_fake(script, options=few) as fake, scanner(fake.url) as client:
        await client.version()
        await asyncio.gather(*(scan(client, SMALL) for _ in range(12)))
    assert most == 2


class TestWithoutStatus204:
    """A service that cannot say that nothing is to be changed sends the file back."""

    @pytest.mark.parametrize("method", ["reqmod", "respmod"])
    @pytest.mark.parametrize(
        ("changed", "verdict"),
        [(b"", Verdict.CLEAN), (b"!", Verdict.UNSCANNABLE)],
    )
    async def test_the_same_file_is_clean_and_another_one_is_not(
        self, method: str, changed: bytes, verdict: Verdict
    ) -> None:
        part = "req" if method == "reqmod" else "res"
        http = b"POST / HTTP/1.1\r\n\r\n" if method == "reqmod" else b"HTTP/1.1 200 OK\r\n\r\n"
        head = f'ICAP/1.0 200 OK\r\nISTag: "one"\r\nEncapsulated: {part}-hdr=0, {part}-body={len(http)}\r\n\r\n'

        async def script(peer: Peer) -> None:
            request = await peer.request()
            data = request.data + changed
            half = len(data) // 2
            await peer.say(head.encode() + http)
            for chunk in (data[:half], data[half:]):
                await peer.say(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await peer.say(b"0\r\n\r\n")

        async with running_fake(script, options=NO_204) as fake, scanner(fake.url, method=method) as client:
            report = await scan(client, bytes(range(256)) * 10_000)
        assert report.verdict is verdict

    @pytest.mark.parametrize("method", ["reqmod", "respmod"])
    async def test_an_empty_file_comes_back_without_a_body(self, method: str) -> None:
        part = "req" if method == "reqmod" else "res"
        http = b"POST / HTTP/1.1\r\n\r\n" if method == "reqmod" else b"HTTP/1.1 200 OK\r\n\r\n"
        head = f'ICAP/1.0 200 OK\r\nISTag: "one"\r\nEncapsulated: {part}-hdr=0, null-body={len(http)}\r\n\r\n'
        answer = answering(head.encode() + http)
        async with running_fake(answer, options=NO_204) as fake, scanner(fake.url, method=method) as client:
            assert (await scan(client, b"")).verdict is Verdict.CLEAN
            assert (await scan(client, SMALL)).verdict is Verdict.UNSCANNABLE

    async def test_where_it_could_have_said_204_it_is_not_clean_unless_we_are_told_so(self) -> None:
        http = b"HTTP/1.1 200 OK\r\n\r\n"
        answer = (
            b'ICAP/1.0 200 OK\r\nISTag: "one"\r\nEncapsulated: res-hdr=0, res-body=%d\r\n\r\n%b64\r\n%b\r\n0\r\n\r\n'
            % (len(http), http, SMALL)
        )
        async with running_fake(answering(answer)) as fake:
            async with scanner(fake.url, method="respmod") as client:
                assert (await scan(client, SMALL)).verdict is Verdict.UNSCANNABLE
            async with scanner(fake.url, method="respmod", unmodified_is_clean=True) as client:
                assert (await scan(client, SMALL)).verdict is Verdict.CLEAN
                assert (await scan(client, SMALL + b"x")).verdict is Verdict.UNSCANNABLE


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (b"ICAP/1.0 404 Service not found\r\n\r\n", ScannerUnavailable, "antivirus_icap_service"),
        (b"ICAP/1.0 503 Later\r\n\r\n", ScannerUnavailable, "503"),
        (b"ICAP/1.0 200 OK\r\nMethods: REQMOD\r\n\r\n", ScannerUnavailable, "antivirus_icap_method"),
        (b"ICAP/1.0 200 OK\r\nMethods: NONE\r\n\r\n", ScannerProtocolError, "methods"),
        (b"", ScannerUnavailable, "closed"),
    ],
)
async def test_a_service_that_cannot_be_used_is_told_of(options: bytes, error: type[Exception], message: str) -> None:
    async with (
        running_fake(answering(CLEAN), options=options) as fake,
        scanner(fake.url, method="respmod") as client,
    ):
        with pytest.raises(error, match=message):
            await client.self_test()


async def test_nobody_there_is_an_error() -> None:
    async with scanner("icap://127.0.0.1:1/avscan") as client:
        with pytest.raises(ScannerUnavailable, match="no connection"):
            await client.version()


async def test_a_service_that_finds_nothing_fails_the_self_test() -> None:
    async with running_fake(answering(CLEAN)) as fake, scanner(fake.url) as client:
        with pytest.raises(SelfTestFailed, match="EICAR"):
            await client.self_test()


async def test_a_service_with_a_smaller_limit_than_told_fails_the_self_test() -> None:
    async def script(peer: Peer) -> None:
        request = await peer.request()
        await peer.say(INFECTED if eicar() in request.data and len(request.data) <= MIB else CLEAN)

    async with running_fake(script) as fake:
        async with scanner(fake.url, proved=False, max_file_bytes=MIB) as client:
            await client.self_test()
        async with scanner(fake.url, proved=False, max_file_bytes=MIB + 1) as client:
            with pytest.raises(SelfTestFailed, match="smaller limit"):
                await client.self_test()
            report = await scan(client, bytes(MIB + 2))
    assert (report.verdict, report.bytes_scanned) == (Verdict.TOO_LARGE, 0)


@pytest.mark.parametrize("news", ["a tag in its answers", "a tag in its options", "a failure", "time"])
async def test_a_service_that_may_be_another_one_has_to_look_at_large_files_again(news: str) -> None:
    limit, answers = MIB, CLEAN

    async def script(peer: Peer) -> None:
        request = await peer.request()
        if request.data == b"break off":
            peer.reset()
            return
        await peer.say(INFECTED if eicar() in request.data and len(request.data) <= limit else answers)

    clock = ManualClock()
    async with running_fake(script) as fake, IcapScanner(fake.url, clock=clock, max_file_bytes=MIB) as client:
        await client.self_test()
        assert (await scan(client, bytes(MIB))).verdict is Verdict.CLEAN
        limit = MIB - 1
        assert (await scan(client, bytes(MIB))).verdict is Verdict.CLEAN  # nobody can know
        if news == "a tag in its answers":
            answers = CLEAN.replace(b"one", b"two")
        elif news == "a tag in its options":
            fake.options = OPTIONS.replace(b"one", b"two")
            await client.version()
        elif news == "a failure":
            with pytest.raises(ScannerUnavailable):
                await scan(client, b"break off")
        else:
            await clock.advance(timedelta(minutes=15))
        with pytest.raises(SelfTestFailed, match="smaller limit"):
            await scan(client, bytes(MIB))
        assert (await scan(client, SMALL)).verdict is Verdict.CLEAN


async def test_tls(tmp_path: Path) -> None:
    certificate = Certificate.make(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate.certificate, certificate.key)
    trusting = ssl.create_default_context(cafile=certificate.certificate)
    async with running_fake(serving, tls=tls) as fake:
        async with scanner(fake.url, tls=trusting) as client:
            await client.self_test()
            assert (await scan(client, BIG[: 3 * MIB])).verdict is Verdict.CLEAN
        async with scanner(fake.url) as client:
            with pytest.raises(ScannerUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
                await client.version()


def test_a_profile_that_is_not_known_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="c-icap"):
        scanner("icap://x/y", profile="nobody")


async def test_what_c_icap_does_not_look_at_is_not_clean(tmp_path: Path) -> None:
    pdf = tmp_path / "file.pdf"
    pdf.write_bytes(b"%PDF-1.4\n" + bytes(5000) + eicar())
    for folder in ("clamd", "cicap", "limited"):
        (tmp_path / folder).mkdir()
    with running_clamd(tmp_path / "clamd") as clamd:
        with running_cicap(tmp_path / "cicap", clamd, types=DEBIAN_TYPES) as server:
            for method in ("reqmod", "respmod"):
                async with scanner(server.url, service="avscan", method=method) as client:
                    report = await client.scan(LocalFile(pdf), size_bytes=pdf.stat().st_size)
                    assert report.verdict is Verdict.UNSCANNABLE, method
                    assert "types and sizes" in report.detail
            async with scanner(server.url, service="nobody") as client:
                with pytest.raises(ScannerUnavailable, match="antivirus_icap_service"):
                    await client.self_test()
            clamd.stop()
            async with scanner(server.url, service="avscan") as client:
                with pytest.raises(ScannerUnavailable, match="500"):
                    await scan(client, SMALL)
        clamd.start_again()
        with running_cicap(tmp_path / "limited", clamd, max_object_size="1M") as server:
            async with scanner(server.url, service="virus_scan", max_file_bytes=2 * MIB) as client:
                report = await scan(client, eicar() + bytes(2 * MIB - 68))
                assert report.verdict in {Verdict.UNSCANNABLE, Verdict.INFECTED}
