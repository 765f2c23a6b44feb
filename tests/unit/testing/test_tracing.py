"""The spans that tests look at are made as those that are sent."""

from __future__ import annotations

import pytest

from penstock.testing import RecordedTracing
from penstock.tracing import Tracing


def test_it_keeps_what_was_said_of_a_span() -> None:
    recorded = RecordedTracing()
    tracing: Tracing = recorded
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    span = tracing.span("work", parent, step="ocr")
    span.note(outcome="retry")
    with pytest.raises(LookupError), span:
        raise LookupError("gone")
    with tracing.span("nothing") as nothing:
        nothing.discard()
    (work,) = recorded.ended
    assert (work.name, work.parent, work.attributes) == ("work", parent, {"step": "ocr", "outcome": "retry"})
    assert work.error == "LookupError: gone"
    assert work.trace_parent[3:35] == parent[3:35]
