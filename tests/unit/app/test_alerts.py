"""What administrators are told: posted until it is taken, and never more often than they can bear."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from penstock.antivirus.alert import Alert, AlertKind
from penstock.app.alerts import Alerts
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
    hook.statuses = [503, 429, 204, 403]
    async with Alerts(hook.url, clock=clock, metrics=metrics) as alerts:
        for name in ("1", "2", "3"):
            alerts.tell(alert(name=name))
        for pause in (1, 2):
            await eventually(lambda: clock.sleepers == 1)
            assert not hook.posted
            await clock.advance(timedelta(seconds=pause))
        await eventually(lambda: len(hook.posted) == 2)
    assert [one["id"] for one in hook.posted] == ["1", "3"]
    assert len(hook.headers) == 5
    assert counted(metrics, "penstock_alerts", result="failed") == 1


async def test_what_waits_at_the_end_is_tried_once_more(hook: Webhook) -> None:
    hook.statuses = [503]
    clock = ManualClock()
    async with Alerts(hook.url, clock=clock) as alerts:
        alerts.tell(alert(name="1"))
        alerts.tell(alert(name="2"))
        await eventually(lambda: clock.sleepers == 1)
    assert [one["id"] for one in hook.posted] == ["1", "2"]


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


async def test_without_an_address_it_is_counted_only() -> None:
    metrics = Metrics()
    async with Alerts(None, clock=ManualClock(), metrics=metrics) as alerts:
        alerts.tell(alert())
    assert counted(metrics, "penstock_viruses_found", scanner="clamav") == 1
    assert counted(metrics, "penstock_alerts", result="failed") == 0
