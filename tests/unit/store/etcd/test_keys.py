"""The keys and values in etcd: those of the Go services, and ours beside them."""

from __future__ import annotations

import base64
import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.store import layout
from penstock.store.etcd import keys
from penstock.testing.store_contract.records import IDS, full_record

CAPTURE = json.loads((Path(__file__).parents[3] / "data" / "wire" / "store-etcd.json").read_text())
ENTRIES: list[dict[str, Any]] = [entry for run in CAPTURE["runs"] for entry in run["entries"]]
RECORDS = [entry for entry in ENTRIES if entry["key"].startswith("//.prefix/")]


def test_the_capture_holds_both_copies_of_three_records() -> None:
    assert (len(RECORDS), len(ENTRIES)) == (3, 6)


@pytest.mark.parametrize("entry", ENTRIES, ids=count())
def test_our_keys_are_those_of_the_go_services(entry: dict[str, Any]) -> None:
    upload = entry["record_json"]["ID"]
    assert entry["key"].encode() in (keys.record_key(upload), keys.backwards_key(upload))


@pytest.mark.parametrize("entry", RECORDS, ids=count())
def test_a_record_of_a_go_service_is_read_and_written_again_with_its_fields_as_they_were(entry: dict[str, Any]) -> None:
    progress = keys.unwrap(entry["key"].encode(), entry["value"].encode())
    written = keys.wrap(progress)
    begin, end = b'{"metadata":null,"key":"' + progress.upload_id.encode() + b'","value":"', b'"}'
    assert entry["value"].encode().startswith(begin)
    assert written.startswith(begin)
    assert written.endswith(end)
    record = base64.b64decode(written[len(begin) : -len(end)])
    assert record.startswith(entry["record"].encode()[:-1] + b",")


def test_go_reverses_characters_and_not_bytes() -> None:
    assert keys.backwards_key("aé😀") == "//.suffix/😀éa".encode()


@pytest.mark.parametrize("upload", IDS)
def test_a_record_comes_back_from_its_envelope(upload: str) -> None:
    progress = full_record(upload)
    assert keys.unwrap(keys.record_key(upload), keys.wrap(progress)) == progress


def test_an_envelope_may_hold_more_and_in_another_order() -> None:
    record = base64.b64encode(layout.encode(full_record("u1"))).decode()
    value = json.dumps({"value": record, "expiry": 5, "key": "u1", "metadata": {"a": [1]}}).encode()
    assert keys.unwrap(keys.record_key("u1"), value) == full_record("u1")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"no JSON",
        b"[]",
        b"\xff",
        b"null",
        b"{}",
        b'{"key":"u1","value":null}',
        b'{"key":"u1","value":"!"}',
        b'{"key":"u1","value":"e30="}',
        keys.wrap(full_record("u2")),
    ],
)
def test_what_is_no_record_of_the_upload_is_refused(value: bytes) -> None:
    with pytest.raises(layout.BadRecord):
        keys.unwrap(keys.record_key("u1"), value)


OURS = (keys.STEPS, keys.TIMERS, keys.ANSWERS)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_no_key_of_ours_is_in_a_list_of_the_go_services(name: str) -> None:
    for key in (keys.step_key(name), keys.timer_key(5, name), keys.answer_key(name)):
        assert not key.startswith((b"//.prefix/", b"//.suffix/"))
        assert sum(prefix <= key < keys.after_all(prefix) for prefix in OURS) == 1
    assert keys.RECORDS <= keys.record_key(name) < keys.after_all(keys.RECORDS)


@given(st.integers(0, 2**58), st.integers(0, 2**58), st.text(max_size=5), st.text(max_size=5))
def test_timers_are_in_the_order_of_their_times(first: int, second: int, one: str, other: str) -> None:
    here, there = keys.timer_key(first, one), keys.timer_key(second, other)
    if first != second:
        assert (here < there) == (first < second)
    assert (here < keys.due_before(second)) == (first < second)
    assert keys.upload_of_timer(here) == one.encode()


def test_a_time_before_1970_is_the_first_of_all() -> None:
    assert keys.timer_key(-5, "u1") == keys.timer_key(0, "u1")


@given(st.binary(max_size=4), st.binary(max_size=4))
def test_nothing_fits_between_a_key_and_the_next(key: bytes, other: bytes) -> None:
    assert not key < other < keys.after(key)
    assert key < keys.after(key)
