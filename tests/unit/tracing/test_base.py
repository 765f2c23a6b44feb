"""Where no traces are sent, the trace goes on all the same."""

from __future__ import annotations

import pytest

from penstock.tracing import UNTRACED
from penstock.tracing.traceparent import parse

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def test_a_span_that_nobody_records_is_a_child_that_is_not_sampled() -> None:
    span, another = UNTRACED.span("work", PARENT, upload_id="u"), UNTRACED.span("work", PARENT)
    place = parse(span.trace_parent)
    assert place is not None
    assert (place.trace_id, place.flags) == (TRACE, 0)
    assert len({span.trace_parent, another.trace_parent, PARENT}) == 3
    assert span.trace_parent == span.trace_parent


@pytest.mark.parametrize("parent", ["", "none", f"00-{'0' * 32}-b7ad6b7169203331-01"])
def test_without_a_parent_a_trace_begins(parent: str) -> None:
    places = [parse(UNTRACED.span("work", parent).trace_parent) for _ in range(3)]
    assert len({place.trace_id for place in places if place is not None}) == 3


def test_it_hides_no_error() -> None:
    span = UNTRACED.span("work")
    span.note(step="virusscan")
    span.failed("it did")
    span.discard()
    with pytest.raises(LookupError), span:
        raise LookupError
