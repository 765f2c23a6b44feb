"""Spans on their way to a collector, which is not always there."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode
from structlog.testing import capture_logs

from penstock.testing import eventually
from penstock.tracing.otlp import OtlpTracing, grpc_exporter, http_exporter
from penstock.tracing.traceparent import parse

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


class Collector(SpanExporter):
    """Takes spans, refuses them, or hangs."""

    def __init__(self) -> None:
        self.taken: list[ReadableSpan] = []
        self.away = False
        self.hangs = threading.Event()
        self.hangs.set()
        self.closed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.hangs.wait(100)
        if self.away:
            return SpanExportResult.FAILURE
        self.taken += spans
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.closed += 1


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    collector = Collector()
    yield collector
    collector.hangs.set()


def tracing(collector: Collector, flush: timedelta = timedelta(seconds=60)) -> OtlpTracing:
    return OtlpTracing("serve", "1.2", collector, flush=flush)


async def test_spans_join_the_trace_they_came_with_and_are_flushed_at_the_end(collector: Collector) -> None:
    async with tracing(collector) as traces:
        with traces.span("work", f"00-{TRACE}-{SPAN}-01", upload_id="u", attempt=2, outcome="", error=None) as span:
            span.note(outcome="continue")
        sent = parse(span.trace_parent)
        assert sent is not None
        assert (sent.trace_id, sent.flags) == (TRACE, 1)
        with traces.span("more", span.trace_parent):
            pass
    work, more = collector.taken
    assert work.context is not None
    assert work.parent is not None
    assert more.parent is not None
    assert f"{work.context.trace_id:032x}" == TRACE
    assert f"{work.parent.span_id:016x}" == SPAN
    assert more.parent.span_id == work.context.span_id
    assert dict(work.attributes or {}) == {
        "penstock.upload_id": "u",
        "penstock.attempt": 2,
        "penstock.outcome": "continue",
    }
    resource = work.resource.attributes
    assert (resource["service.name"], resource["service.version"]) == ("penstock-serve", "1.2")
    assert collector.closed == 1


async def test_what_its_beginner_does_not_record_is_not_sent_and_goes_on_unsampled(collector: Collector) -> None:
    async with tracing(collector) as traces:
        with traces.span("work", f"00-{TRACE}-{SPAN}-00") as span:
            pass
    assert collector.taken == []
    place = parse(span.trace_parent)
    assert place is not None
    assert (place.trace_id, place.flags) == (TRACE, 0)
    assert place.span_id != SPAN


async def test_without_a_parent_a_trace_begins_whatever_else_goes_on(collector: Collector) -> None:
    async with tracing(collector) as traces:
        with traces.span("outer"), traces.span("inner", "none"):
            pass
    assert [span.parent for span in collector.taken] == [None, None]
    assert len({span.context.trace_id for span in collector.taken if span.context}) == 2


async def test_errors_are_recorded_and_what_is_discarded_is_not_sent(collector: Collector) -> None:
    async with tracing(collector) as traces:
        with pytest.raises(LookupError), traces.span("raises"):
            raise LookupError("gone")
        with traces.span("says so") as span:
            span.failed("no answer")
        with traces.span("not worth it") as span:
            span.discard()
    raised, said = collector.taken
    assert (raised.status.status_code, raised.status.description) == (StatusCode.ERROR, "LookupError: gone")
    assert [event.name for event in raised.events] == ["exception"]
    assert (said.status.status_code, said.status.description) == (StatusCode.ERROR, "no answer")


async def test_a_collector_that_is_away_is_told_of_once_and_so_is_its_return(collector: Collector) -> None:
    with capture_logs() as logs:
        async with tracing(collector) as traces:
            collector.away = True
            for _ in range(3):
                with traces.span("lost"):
                    pass
                await eventually(lambda: [log["event"] for log in logs] == ["traces_are_not_sent"])
            collector.away = False
            with traces.span("sent"):
                pass
            await eventually(lambda: collector.taken)
    assert [log["event"] for log in logs] == ["traces_are_not_sent", "traces_are_sent_again"]
    assert "sent" in [span.name for span in collector.taken]


async def test_a_collector_that_hangs_blocks_nobody_and_holds_up_the_end_no_longer_than_it_may(
    collector: Collector,
) -> None:
    collector.hangs.clear()
    with capture_logs() as logs:
        async with tracing(collector, flush=timedelta(seconds=0.2)) as traces:
            begun_at = time.monotonic()
            for _ in range(100):
                with traces.span("work"):
                    pass
        assert time.monotonic() - begun_at < 60
    assert "traces_lost_at_end" in [log["event"] for log in logs]
    assert collector.closed == 1


async def test_opentelemetrys_own_switch_turns_it_off(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    async with tracing(collector) as traces:
        with traces.span("work") as span:
            assert parse(span.trace_parent) is not None
    assert collector.taken == []


@pytest.mark.parametrize(
    ("collector_url", "url"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
        ("https://traces.example.test/otlp/v1/traces", "https://traces.example.test/otlp/v1/traces"),
    ],
)
def test_the_path_of_otlp_is_added_where_there_is_none(collector_url: str, url: str) -> None:
    exporter = http_exporter(collector_url)
    assert vars(exporter)["_endpoint"] == url
    exporter.shutdown()


@pytest.mark.parametrize(
    ("endpoint", "plain"), [("127.0.0.1:4317", True), ("http://c:4317", True), ("https://c:4317", False)]
)
def test_grpc_is_plain_unless_the_endpoint_says_https(endpoint: str, plain: bool) -> None:
    exporter = grpc_exporter(endpoint)
    assert vars(exporter)["_insecure"] is plain
    exporter.shutdown()
