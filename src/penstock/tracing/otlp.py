"""Spans that are sent to an OpenTelemetry collector (OTLP), in batches, by a thread of their own.

A collector that is away costs nothing but the spans: at most 2048 of them wait for it, and more are left out. What the
settings do not say, such as headers, sampling and the size of batches, is taken from OpenTelemetry's own environment
variables (`OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_TRACES_SAMPLER`, `OTEL_BSP_…`).

Needs the packages of the extra `tracing`.
"""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

import structlog
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from .base import Attribute, child_of
from .traceparent import parse, write

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Span as RecordedSpan

log = structlog.get_logger(__name__)

_EXPORT_SECONDS: Final = 5
"""How long one batch is tried."""
_FLUSH: Final = timedelta(seconds=3)
"""How long the end of the service waits for the last spans to be sent."""
_PREFIX: Final = "penstock."
_PATH: Final = "/v1/traces"


class OtlpTracing:
    """Sends spans while its context is open."""

    def __init__(self, service: str, version: str, exporter: SpanExporter, *, flush: timedelta = _FLUSH) -> None:
        """Build it.

        Args:
            service: What spans are told to come from, with `penstock-` in front.
            version: Which version of it.
            exporter: Sends them, and may block; see `grpc_exporter` and `http_exporter`.
            flush: How long the end may wait for the last spans to be sent.
        """
        self._exporter = _Reporting(exporter)
        self._flush = flush
        resource = Resource.create({SERVICE_NAME: f"penstock-{service}", SERVICE_VERSION: version})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._tracer = self._provider.get_tracer("penstock", version)

    async def __aenter__(self) -> Self:
        """Begin to send."""
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Send what is left, for as long as that may take. What cannot be sent by then is lost."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def end() -> None:
            self._provider.shutdown()
            try:
                loop.call_soon_threadsafe(ended.set)
            except RuntimeError:  # nobody waited, and the loop is closed
                return

        # A daemon, since a collector that hangs must not keep the process from its end.
        threading.Thread(target=end, name="penstock-traces-end", daemon=True).start()
        try:
            async with asyncio.timeout(self._flush.total_seconds()):
                await ended.wait()
        except TimeoutError:
            self._exporter.abandon()
            log.warning("traces_lost_at_end", hint="the collector did not take the last spans in time")

    def span(self, name: str, parent: str = "", **attributes: Attribute) -> SentSpan:
        """Return a span, which begins now."""
        return SentSpan(
            self._tracer.start_span(
                name, context=_context(parent), kind=SpanKind.CONSUMER, attributes=_said(attributes)
            ),
            parent,
        )


class SentSpan:
    """A span that is sent when it has ended, unless who began the trace has chosen not to record it."""

    __slots__ = ("_discarded", "_parent", "_span", "_trace_parent")

    def __init__(self, span: RecordedSpan, parent: str) -> None:
        self._span = span
        self._parent = parent
        self._trace_parent = ""
        self._discarded = False

    @property
    def trace_parent(self) -> str:
        """W3C `traceparent` of this span."""
        if not self._trace_parent:
            context = self._span.get_span_context()
            self._trace_parent = (
                write(f"{context.trace_id:032x}", f"{context.span_id:016x}", flags=context.trace_flags)
                if context.is_valid
                else child_of(self._parent)  # OTEL_SDK_DISABLED has turned OpenTelemetry off
            )
        return self._trace_parent

    def note(self, **attributes: Attribute) -> None:
        """Say more about it."""
        self._span.set_attributes(_said(attributes))

    def failed(self, reason: str) -> None:
        """Say that the work has failed."""
        self._span.set_status(Status(StatusCode.ERROR, reason))

    def discard(self) -> None:
        """Do not send it."""
        self._discarded = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._discarded:
            return  # only what has ended is sent
        if isinstance(error, Exception):
            self._span.record_exception(error)
            self.failed(f"{type(error).__name__}: {error}")
        elif error is not None:
            self.failed("given up: the service ends")
        self._span.end()


class _Reporting(SpanExporter):
    """Tells once that spans cannot be sent, and once that they can again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._lost = 0
        self._abandoned = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; called by the thread of the batches."""
        if self._abandoned:
            return SpanExportResult.FAILURE
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            if self._lost:
                log.info("traces_are_sent_again", lost_spans=self._lost)
            self._lost = 0
            return result
        if not self._lost:
            log.warning("traces_are_not_sent", hint="look at the collector; all else goes on without them")
        self._lost += len(spans)
        return result

    def abandon(self) -> None:
        """Give up what is being sent."""
        self._abandoned = True
        self._exporter.shutdown()

    def shutdown(self) -> None:
        """Close the way to the collector."""
        if not self._abandoned:
            self._exporter.shutdown()


def grpc_exporter(endpoint: str) -> SpanExporter:
    """Return what sends spans by gRPC to `host:port`; with `https://` in front, by TLS."""
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    plain = urlsplit(endpoint).scheme != "https"
    return OTLPSpanExporter(endpoint=endpoint, insecure=plain, timeout=_EXPORT_SECONDS)


def http_exporter(collector: str) -> SpanExporter:
    """Return what sends spans by HTTP to a URL; without a path, to the one that OTLP has."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    url = collector if urlsplit(collector).path.strip("/") else collector.rstrip("/") + _PATH
    return OTLPSpanExporter(endpoint=url, timeout=_EXPORT_SECONDS)


def _context(parent: str) -> Context:
    """Return what has a span join its parent's trace; with no parent, what has it begin one."""
    place = parse(parent)
    if place is None:
        return Context()
    remote = SpanContext(
        int(place.trace_id, 16), int(place.span_id, 16), is_remote=True, trace_flags=TraceFlags(place.flags)
    )
    return set_span_in_context(NonRecordingSpan(remote), Context())


def _said(attributes: dict[str, Attribute]) -> dict[str, str | int | float | bool]:
    return {f"{_PREFIX}{name}": value for name, value in attributes.items() if value is not None and value != ""}
