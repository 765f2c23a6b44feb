"""What administrators are told: posted until it is taken, and never more often than they can bear."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from penstock.antivirus import ScannerUnavailable
from penstock.antivirus.alert import Alert, AlertKind
from penstock.antivirus.handling import Handling
from penstock.app.alerts import Alerts
from penstock.errors import ConfigurationError
from penstock.steps.virusscan import Virusscan
from penstock.telemetry import Metrics
from penstock.testing import ManualClock, eventually
from tests.servers.webhook import Webhook, running_webhook


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with running_webhook() as running:
        yield running


def alert(kind: AlertKind = AlertKind.VIRUS_FOUND, name: str = "1", **more: Any) -> Alert:
    at = datetime(2026, 11, 21, tzinfo=UTC)
    return Alert(kind=kind, id=name, at=at, text=f"news {name}", scanner="clamav", **more)


def counted(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"{name}_total", labels) or 0.0


class Away:
    """A scanner that is not there, until it is."""

    name = "clamav"

    def __init__(self) -> None:
        self.error: Exception | None = ScannerUnavailable("away")

    async def self_test(self) -> None:
        if self.error is not None:
            raise self.error


async def test_it_is_posted_once_with_all_that_is_known(hook: Webhook) -> None:
    metrics = Metrics()
    async with Alerts(hook.url, token="key", clock=ManualClock(), metrics=metrics) as alerts:
        alerts.tell(alert(upload_id="u1", filename="a.txt", size_bytes=0, signature="Eicar", outcome="delete"))
        await eventually(lambda: bool(hook.posted))
    assert hook.posted == [
        {
            "kind": "virus-found",
            "id": "1",
            "at": "2026-11-21T00:00:00Z",
            "text": "news 1",
            "scanner": "clamav",
            "upload_id": "u1",
            "filename": "a.txt",
            "size_bytes": 0,
            "signature": "Eicar",
            "outcome": "delete",
        }
    ]
    assert hook.headers[0]["authorization"] == "Bearer key"
    assert counted(metrics, "penstock_viruses_found", scanner="clamav") == 1
    assert counted(metrics, "penstock_alerts", result="sent") == 1


async def test_what_is_not_taken_is_posted_again_after_a_pause_and_what_is_refused_is_not(hook: Webhook) -> None:
    metrics, clock = Metrics(), ManualClock()
    hook.statuses = [503, 204, 429, 403]
    async with Alerts(hook.url, clock=clock, metrics=metrics) as alerts:
        alerts.tell(alert(name="1"))
        alerts.tell(alert(name="2"))  # goes on although the other is not taken
        await eventually(lambda: [one["id"] for one in hook.posted] == ["2"] and clock.sleepers == 1)
        await clock.advance(timedelta(seconds=0.9))
        assert len(hook.headers) == 2
        await clock.advance(timedelta(seconds=0.1))
        await eventually(lambda: len(hook.headers) == 3 and clock.sleepers == 1)
        await clock.advance(timedelta(seconds=1.9))
        assert len(hook.headers) == 3
        await clock.advance(timedelta(seconds=0.1))
        await eventually(lambda: len(hook.headers) == 4)
        alerts.tell(alert(name="3"))
        await eventually(lambda: len(hook.posted) == 2)
    assert [one["id"] for one in hook.posted] == ["2", "3"]
    assert len(hook.headers) == 5
    assert counted(metrics, "penstock_alerts", result="failed") == 1  # the first, when it was refused


async def test_one_that_cannot_be_written_holds_no_other_up(hook: Webhook, capsys: pytest.CaptureFixture[str]) -> None:
    clock = ManualClock()
    async with Alerts(hook.url, clock=clock) as alerts:
        alerts.tell(alert(name="1", filename="\udcff"))
        alerts.tell(alert(name="2"))
        await eventually(lambda: [one["id"] for one in hook.posted] == ["2"])
    assert "UnicodeEncodeError" in "".join(capsys.readouterr())


async def test_an_answer_without_end_is_not_read() -> None:
    sent_bytes = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent_bytes
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(ConnectionError):
            while True:
                writer.write(bytes(65536))
                await writer.drain()
                sent_bytes += 65536
        writer.close()

    metrics = Metrics()
    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Alerts(f"http://127.0.0.1:{port}/", clock=ManualClock(), metrics=metrics) as alerts:
            alerts.tell(alert())
            await eventually(lambda: counted(metrics, "penstock_alerts", result="sent") == 1)
    assert sent_bytes < 64 * 1024 * 1024


@pytest.mark.parametrize("token", ["schl\u00fcssel", "two words", "line\nend"])
def test_a_token_that_no_header_can_carry_is_refused_at_start(token: str) -> None:
    with pytest.raises(ConfigurationError, match="antivirus_alert_token"):
        Alerts("http://127.0.0.1:1/", token=token, clock=ManualClock())


async def test_what_waits_at_the_end_is_tried_once_more(hook: Webhook) -> None:
    hook.statuses = [503]
    clock = ManualClock()
    async with Alerts(hook.url, clock=clock) as alerts:
        alerts.tell(alert(name="1"))
        alerts.tell(alert(name="2"))
        await eventually(lambda: clock.sleepers == 1)
    assert sorted(one["id"] for one in hook.posted) == ["1", "2"]


async def test_one_that_is_away_holds_nothing_up_and_is_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = Metrics()
    async with Alerts("http://127.0.0.1:1/s3cret", clock=ManualClock(), metrics=metrics) as alerts:
        for number in range(1001):
            alerts.tell(alert(name=str(number)))
    assert counted(metrics, "penstock_alerts", result="failed") == 1001
    assert "s3cret" not in "".join(capsys.readouterr())


async def test_a_scanner_that_comes_and_goes_is_told_of_now_and_then(hook: Webhook) -> None:
    clock = ManualClock()
    async with Alerts(hook.url, clock=clock) as alerts:
        alerts.tell(alert(AlertKind.SCANNER_READY, "never away"))
        for name in ("1", "2", "3"):
            alerts.tell(alert(AlertKind.SCANNER_NOT_USED, f"away {name}"))
            alerts.tell(alert(AlertKind.SCANNER_READY, f"back {name}"))
            await clock.advance(timedelta(seconds=200))
        await eventually(lambda: len(hook.posted) == 4)
    assert [one["id"] for one in hook.posted] == ["away 1", "back 1", "away 3", "back 3"]


async def test_one_that_stays_away_is_told_of_although_it_was_back_a_moment_ago(hook: Webhook) -> None:
    clock = ManualClock()
    async with Alerts(hook.url, clock=clock) as alerts:
        scanner = Away()
        step = Virusscan(scanner, clock=clock, workers=1, handling=Handling())  # type: ignore[arg-type]
        step.on_alert = alerts.tell
        await step.check()
        scanner.error = None
        await step.check()
        scanner.error = ScannerUnavailable("away")
        for _ in range(12):
            await step.check()
            await clock.advance(timedelta(minutes=1))
        await eventually(lambda: len(hook.posted) == 3)
    assert [one["kind"] for one in hook.posted] == ["scanner-not-used", "scanner-ready", "scanner-not-used"]


async def test_without_an_address_it_is_counted_only() -> None:
    metrics = Metrics()
    async with Alerts(None, clock=ManualClock(), metrics=metrics) as alerts:
        alerts.tell(alert())
    assert counted(metrics, "penstock_viruses_found", scanner="clamav") == 1
    assert counted(metrics, "penstock_alerts", result="failed") == 0
