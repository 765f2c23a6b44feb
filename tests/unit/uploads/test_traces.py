"""An upload is processed in the trace of the request that completed it, however often, and whatever is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.testing import RecordedTracing, eventually
from penstock.tracing.traceparent import parse, trace_id_of

from .way_in import WayIn, body, way_in

CREATION = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
COMPLETION = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def complete(parts: WayIn, upload_id: str, trace_parent: str) -> None:
    await parts.receiver.receive(upload_id, 0, body(b"abc"), length=3, trace_parent=trace_parent)


@pytest.mark.parametrize(
    ("creation", "completion", "parent"),
    [
        (CREATION, COMPLETION, COMPLETION),
        (CREATION, "", CREATION),
        (CREATION, "none", CREATION),
        ("", COMPLETION, COMPLETION),
    ],
)
async def test_the_request_that_completes_it_counts(
    tmp_path: Path, creation: str, completion: str, parent: str
) -> None:
    async with way_in(tmp_path) as parts:
        standing = await parts.receiver.create("f", size_bytes=3, trace_parent=creation)
        await complete(parts, standing.upload.id, completion)
        (sent,) = await eventually(lambda: parts.trace_parents)
        assert trace_id_of(sent) == trace_id_of(parent)
        assert sent != parent


async def test_every_upload_has_a_trace(tmp_path: Path) -> None:
    async with way_in(tmp_path) as parts:
        await parts.receiver.create("empty", size_bytes=0, trace_parent="none")
        await parts.receiver.create("empty", size_bytes=0)
        await eventually(lambda: len(parts.trace_parents) == 2)
        first, second = parts.trace_parents
        assert None not in (parse(first), parse(second))
        assert trace_id_of(first) != trace_id_of(second)


async def test_a_restart_and_an_announcement_after_a_death_stay_in_the_trace(tmp_path: Path) -> None:
    async with way_in(tmp_path) as parts:
        standing = await parts.receiver.create("f", size_bytes=3)
        await complete(parts, standing.upload.id, COMPLETION)
        await parts.gateway.restart(standing.upload.id)
        await eventually(lambda: len(parts.trace_parents) == 2)
        first, again = parts.trace_parents
    async with way_in(tmp_path) as parts:
        await parts.gateway.reconcile()
        (announced,) = await eventually(lambda: parts.trace_parents)
    assert first == again == announced
    assert trace_id_of(first) == trace_id_of(COMPLETION)


async def test_there_is_one_span_for_what_is_received_once(tmp_path: Path) -> None:
    tracing = RecordedTracing()
    async with way_in(tmp_path, tracing=tracing) as parts:
        standing = await parts.receiver.create("f", size_bytes=3)
        await complete(parts, standing.upload.id, COMPLETION)
        await parts.gateway.received(standing.upload, size_bytes=3)  # as by another process, which read it before
        (sent,) = await eventually(lambda: parts.trace_parents)
    (span,) = tracing.ended
    assert (span.name, span.parent, span.trace_parent) == ("upload received", COMPLETION, sent)
    assert span.attributes == {"upload_id": standing.upload.id, "size_bytes": 3}
