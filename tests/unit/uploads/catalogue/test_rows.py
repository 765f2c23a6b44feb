"""Uploads to rows and back, through a real table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, select

from penstock.db import tables
from penstock.uploads.catalogue import rows
from penstock.uploads.protocols.proviso import Proviso
from penstock.uploads.upload import Phase, ScanMark, Upload

KEPT_ELSEWHERE = {
    "final_key": "",
    "run_cause": "",
    "discard_pending": False,
    "counted_bytes": 0,
    "counted_in": "",
    "precedence": 0,
}
"""Columns that say nothing about the upload itself; the catalogue writes them."""

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
times = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # zone given apart
scans = st.builds(ScanMark, infected=st.booleans(), signature=texts, scanned_at=texts, error=texts)
versions = st.none() | st.lists(texts, max_size=3).map(tuple)
provisos = st.builds(Proviso, any_of=versions, none_of=versions, unmodified_since=st.none() | times)
uploads = st.builds(
    Upload,
    id=st.uuids().map(str),
    filename=texts,
    space=texts,
    size_bytes=st.none() | st.integers(0, 2**63 - 1),
    media_type=texts,
    metadata=texts,
    phase=st.sampled_from(Phase),
    run=st.integers(0, 1000),
    outcome=texts,
    reason=texts,
    scan=st.none() | scans,
    initiator_id=texts,
    created_at=times,
    expires_at=st.none() | times,
    received_at=st.none() | times,
    ended_at=st.none() | times,
    proviso=st.none() | provisos,
)


def values(upload: Upload) -> dict[str, Any]:
    return rows.fixed_values(upload) | rows.changing_values(upload) | rows.scan_values(upload.scan)


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        tables.metadata.create_all(connection)
        yield connection
    engine.dispose()


def names(columns: Iterable[Any]) -> list[str]:
    return [column.name for column in columns]


@given(uploads)
def test_an_upload_comes_back_as_it_was_written(connection: Connection, upload: Upload) -> None:
    with connection.begin_nested():
        connection.execute(tables.uploads.insert().values(values(upload) | KEPT_ELSEWHERE))
        found = connection.execute(select(*rows.COLUMNS).where(tables.uploads.c.id == upload.id)).one()
        connection.execute(tables.uploads.delete())
    assert rows.upload_of(found) == upload


def test_every_column_is_read_or_kept_for_others() -> None:
    assert sorted(names(rows.COLUMNS) + list(KEPT_ELSEWHERE)) == sorted(names(tables.uploads.columns))


def test_every_column_is_written_by_exactly_one() -> None:
    upload = Upload(id="u", filename="f", created_at=datetime(2026, 1, 1, tzinfo=UTC))
    written = [*rows.fixed_values(upload), *rows.changing_values(upload), *rows.scan_values(None)]
    assert sorted(["seq", *written]) == sorted(names(rows.COLUMNS))


def test_the_lists_of_columns_name_what_is_written() -> None:
    upload = Upload(id="u", filename="f", created_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert set(rows.CHANGING) == set(rows.changing_values(upload))
    assert set(rows.SCANNED) == set(rows.scan_values(None))


def test_never_scanned_and_found_clean_are_told_apart() -> None:
    assert rows.scan_values(None)["infected"] is None
    assert rows.scan_values(ScanMark(infected=False))["infected"] is False
