"""What is shown of a record is what the API's description says."""

from __future__ import annotations

import msgspec

from penstock.http.record_views import RecordView
from penstock.postprocessing.shown import ShownRecord
from penstock.testing.store_contract.records import NOW, SECOND, full_record, record


def test_it_is_what_the_api_describes() -> None:
    shown = ShownRecord.of(full_record("u1"), NOW + 90 * SECOND, 60.0)
    text = msgspec.json.encode(shown)
    assert RecordView.model_validate_json(text).model_dump_json().encode() == text
    assert msgspec.to_builtins(shown) == {
        "id": "u1",
        "filename": full_record("u1").filename,
        "size": 2**64 - 1,
        "step": "virusscan",
        "state": "failed",
        "attempt": 4,
        "failures": 3,
        "next_try_at": "2026-05-01T12:30:03.250001Z",
        "age_seconds": 90.0,
        "last_error": "no answer",
        "stalled": False,
        "outcome": "",
    }


def test_what_waits_for_too_long_is_stalled_and_has_no_next_try() -> None:
    shown = ShownRecord.of(record("u1", step_started_at=NOW), NOW + 61 * SECOND, 60.0)
    assert shown.stalled
    assert shown.next_try_at is None
