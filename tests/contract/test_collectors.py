"""Spans reach a collector in both ways that OTLP has."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from opentelemetry.sdk.trace.export import SpanExporter

from penstock.tracing.otlp import OtlpTracing, grpc_exporter, http_exporter
from tests.servers.collector import Collector, grpc_collector, http_collector

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("collecting", "exporter_to"), [(http_collector, http_exporter), (grpc_collector, grpc_exporter)]
)
async def test_what_is_told_of_a_span_arrives(
    collecting: Callable[[], AbstractContextManager[Collector]], exporter_to: Callable[[str], SpanExporter]
) -> None:
    with collecting() as collector:
        async with OtlpTracing("step", "1.2", exporter_to(collector.url)) as tracing:
            with tracing.span("step ocr", PARENT, upload_id="u", attempt=2) as span:
                span.failed("no answer")
        (arrived,) = collector.spans
    assert (arrived.service, arrived.name, arrived.error) == ("penstock-step", "step ocr", "no answer")
    assert f"00-{arrived.trace_id}-{arrived.span_id}-01" == span.trace_parent
    assert f"00-{arrived.trace_id}-{arrived.parent_id}-01" == PARENT
    assert arrived.attributes == {"penstock.upload_id": "u", "penstock.attempt": 2}
