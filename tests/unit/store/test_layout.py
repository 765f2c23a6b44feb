"""Records as JSON: what the Go services wrote, what they could read, and what is ours."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.progress import Progress, State, Status
from penstock.store.layout import BadRecord, decode, encode
from penstock.testing.store_contract.records import full_record

if TYPE_CHECKING:
    from collections.abc import Iterator

WIRE = Path(__file__).parents[2] / "data" / "wire"
GO_KEYS = [
    *("ID", "URL", "User", "ImpersonatingUser", "Filename", "Filesize"),
    *("ResourceID", "Steps", "Status", "Failures", "InitiatorID", "Finished"),
]


def golden() -> Iterator[Any]:
    """Every record that a Go service wrote to any store while somebody looked on."""
    for file in sorted(WIRE.glob("*.json")):
        content = json.loads(file.read_text())
        for number, write in enumerate(content.get("store_writes", [])):
            if "value_raw" in write:
                data = base64.b64decode(json.loads(write["value_raw"])["data"])
                yield pytest.param(data, write["record"], id=f"{file.stem}-{number}")
        for run, entries in enumerate(content.get("runs", [])):
            for number, entry in enumerate(entries["entries"]):
                if "record_json" in entry:
                    data = entry.get("record", entry["value"])
                    yield pytest.param(data.encode(), entry["record_json"], id=f"{file.stem}-{run}-{number}")


GOLDEN = list(golden())


def test_there_are_golden_records_of_each_store() -> None:
    names = {parameter.id.rsplit("-", 1)[0] for parameter in GOLDEN}
    assert len(GOLDEN) > 80
    assert {"happy-virusscan", "store-redis-0", "store-redis-sentinel-0", "store-etcd-0"} <= names


@pytest.mark.parametrize(("data", "record"), GOLDEN)
def test_what_go_wrote_is_written_again_byte_for_byte(data: bytes, record: dict[str, Any]) -> None:
    written = encode(decode(data))
    assert written.startswith(data[:-1] + b",")
    assert list(json.loads(written))[:12] == GO_KEYS == list(record)
    assert {key: json.loads(written)[key] for key in GO_KEYS} == record


@pytest.mark.parametrize(("data", "record"), GOLDEN)
def test_what_go_wrote_is_understood(data: bytes, record: dict[str, Any]) -> None:
    progress = decode(data)
    assert progress.upload_id == record["ID"]
    assert progress.steps == tuple(record["Steps"])
    assert progress.status == Status(record["Status"]["CurrentStep"], record["Status"]["Outcome"])
    assert (progress.filesize, progress.failures, progress.finished) == (
        record["Filesize"],
        record["Failures"],
        record["Finished"],
    )
    assert progress.due_at is None
    assert (progress.state is State.FAILED) == record["Finished"]


FULL = full_record("0b2d9c2e-6b0f-4f57-9a9e-000000000001")


def test_every_field_survives() -> None:
    empty = Progress(upload_id="u", status=Status("virusscan"))
    for progress in (FULL, empty):
        assert decode(encode(progress)) == progress
    changed = [name for name in FULL.__struct_fields__ if getattr(FULL, name) == getattr(empty, name)]
    assert changed == []  # or a new field goes untested


def test_go_keys_come_first_in_go_order_with_go_types() -> None:
    record = json.loads(encode(FULL))
    assert list(record)[:12] == GO_KEYS
    assert list(record)[12:] == [
        "StartTime",
        "RunID",
        "Attempt",
        "StepFailures",
        "StepStartedAt",
        "HeardAt",
        "ResumeAt",
        "DeadlineAt",
        "AnnounceAt",
        "Announced",
        "Handled",
        "LastError",
        "Fraction",
        "UpdatedAt",
        "SentAt",
        "TraceParent",
    ]
    types = {key: type(record[key]).__name__ for key in GO_KEYS}
    assert types == {
        "ID": "str",
        "URL": "str",
        "User": "dict",
        "ImpersonatingUser": "dict",
        "Filename": "str",
        "Filesize": "int",
        "ResourceID": "dict",
        "Steps": "list",
        "Status": "dict",
        "Failures": "int",
        "InitiatorID": "str",
        "Finished": "bool",
    }
    assert record["Status"] == {"CurrentStep": "virusscan", "Outcome": "retry"}
    assert record["StartTime"] == "2026-05-01T12:30:00.250001Z"


def test_what_is_not_set_has_the_form_that_go_writes() -> None:
    written = encode(Progress(upload_id="u", status=Status("finished")))
    assert written.startswith(
        b'{"ID":"u","URL":"","User":null,"ImpersonatingUser":null,"Filename":"","Filesize":0,"ResourceID":null,'
        b'"Steps":[],"Status":{"CurrentStep":"finished","Outcome":""},"Failures":0,"InitiatorID":"","Finished":false,'
        b'"StartTime":null,'
    )


def test_our_keys_may_be_missing_because_a_go_instance_wrote_the_record() -> None:
    rewritten = {key: value for key, value in json.loads(encode(FULL)).items() if key in GO_KEYS}
    progress = decode(json.dumps(rewritten).encode())
    ours = {
        field.name: getattr(FULL, field.name) for field in msgspec.structs.fields(FULL) if field.encode_name in GO_KEYS
    }
    assert progress == Progress(**ours)


@pytest.mark.parametrize(
    "data",
    [
        b'{"Status":{"Outcome":"retry","CurrentStep":"ocr"},"Steps":["ocr"],"ID":"u","Failures":1}',
        b'{"id":"u","STATUS":{"currentstep":"ocr","outcome":"retry"},"sTePs":["ocr"],"failures":1}',
        b'{"ID":"u","New":[1],"Steps":["ocr"],"Status":{"CurrentStep":"ocr","Outcome":"retry","New":1},"Failures":1}',
        b'{"ID":"u","Steps":["ocr"],"Failures":1,"Status":{"CurrentStep":"ocr","Outcome":"retry"},"User":null}',
        (
            b' {"Failures":1,"Filesize":null,"StartTime":null,"Handled":null,"Status":{"CurrentStep":"ocr"},'
            b'"Steps":["ocr"],"Status":{"Outcome":"retry"},"ID":"u"}\n'
        ),
    ],
)
def test_keys_come_in_any_order_and_case_and_may_be_missing_or_unknown(data: bytes) -> None:
    assert decode(data) == Progress(upload_id="u", steps=("ocr",), status=Status("ocr", "retry"), failures=1)


def test_one_record_leaves_nothing_behind_in_the_next() -> None:
    decode(b'{"id":"u1","status":{"currentstep":"virusscan","outcome":"retry"},"steps":["virusscan"]}')
    assert decode(b'{"id":"u2"}') == Progress(upload_id="u2", status=Status(""))


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-05-01T12:30:00Z", datetime(2026, 5, 1, 12, 30, tzinfo=UTC)),
        ("2026-05-01T12:30:00.5Z", datetime(2026, 5, 1, 12, 30, 0, 500_000, tzinfo=UTC)),
        ("2026-05-01T12:30:00.123456789Z", datetime(2026, 5, 1, 12, 30, 0, 123_457, tzinfo=UTC)),
        ("2026-05-01T14:30:00.123456789+02:00", datetime(2026, 5, 1, 12, 30, 0, 123_457, tzinfo=UTC)),
        ("2026-05-01T12:30:00", datetime(2026, 5, 1, 12, 30, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+05:00", None),
    ],
)
@pytest.mark.parametrize("key", ["StartTime", "ResumeAt", "UpdatedAt"])
def test_times_are_read_as_go_writes_them(key: str, text: str, at: datetime | None) -> None:
    progress = decode(json.dumps({"ID": "u", "Status": {"CurrentStep": "ocr"}, key: text}).encode())
    names = {"StartTime": progress.started_at, "ResumeAt": progress.resume_at, "UpdatedAt": progress.updated_at}
    assert names[key] == at
    assert at is None or str(names[key]).endswith("+00:00")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"5",
        b'"text"',
        b'{"ID":"u"',
        b"\x00\x01",
        b"{}",
        b'{"ID":""}',
        b'{"somebody":"else\'s value"}',
        b'{"ID":5}',
        b'{"ID":"u","Steps":"ocr"}',
        b'{"ID":"u","Status":[]}',
        b'{"ID":"u","Filesize":"5"}',
        b'{"ID":"u","Finished":1}',
        b'{"ID":"u","StartTime":"yesterday"}',
        b'{"ID":"u","StartTime":"9999-12-31T23:59:59-05:00"}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(BadRecord, match="not a record"):
        decode(data)


def test_a_name_that_cannot_be_encoded_is_not_written() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode(Progress(upload_id="u", filename="\ud800", status=Status("ocr")))


def test_the_reference_names_every_key_in_order() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "stores.md").read_text()
    table = page.partition("## The record")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(json.loads(encode(FULL)))


words = st.text(st.characters(exclude_categories=["Cs"]))
times = st.none() | st.datetimes(datetime(1970, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # bounds of a strategy
records = st.builds(
    Progress,
    upload_id=words.filter(bool),
    filename=words,
    filesize=st.integers(0, 2**64 - 1),
    steps=st.lists(words).map(tuple),
    status=st.builds(Status, words, words),
    failures=st.integers(0, 2**31),
    finished=st.booleans(),
    started_at=times,
    resume_at=times,
    handled=st.lists(words).map(tuple),
    last_error=words,
    fraction=st.none() | st.floats(0, 1),
)


@given(records)
def test_any_record_survives(progress: Progress) -> None:
    assert decode(encode(progress)) == progress


@given(records, st.randoms(use_true_random=False))
def test_any_record_survives_a_writer_with_another_order(progress: Progress, random: Any) -> None:
    items = list(json.loads(encode(progress)).items())
    random.shuffle(items)
    assert decode(json.dumps(dict(items), indent=1).encode()) == progress
