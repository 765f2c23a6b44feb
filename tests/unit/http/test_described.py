"""What the API says of an answer is what is sent."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest
from pydantic import Field, ValidationError

from penstock.http.described import model_of
from penstock.http.garbage import ReportView
from penstock.http.record_views import Results
from penstock.postprocessing.commands import Row
from penstock.testing.store_contract.records import NOW
from penstock.uploads.garbage.collection import Find, Kind, Report, Total


class Small(msgspec.Struct, frozen=True):
    """A small thing."""

    size: int
    name: str = ""


def test_all_fields_are_there_and_of_their_types() -> None:
    model = model_of(Small, "SmallView", name=Annotated[str, Field(description="What it is called.")])
    assert model.model_json_schema() == {
        "title": "SmallView",
        "description": "A small thing.",
        "type": "object",
        "properties": {
            "size": {"title": "Size", "type": "integer"},
            "name": {"title": "Name", "type": "string", "description": "What it is called."},
        },
        "required": ["size", "name"],
    }
    with pytest.raises(ValidationError):
        model(size="large", name="")


def test_a_report_is_what_is_described() -> None:
    find = Find(kind=Kind.PARTS, id="u", size_bytes=7, since=NOW, detail="gone")
    total = Total(kind=Kind.PARTS, found=1, size_bytes=7, done=0, freed_bytes=0, kept=1, failed=1)
    report = Report(
        dry_run=True, totals=[total], finds=[find], found=1, size_bytes=7, done=0, freed_bytes=0, kept=1, failed=1,
        looked_at=3, notes=["away"], remarks=[],
    )  # fmt: skip
    text = msgspec.json.encode(report)
    assert ReportView.model_validate_json(text).model_dump_json().encode() == text


def test_so_is_a_row() -> None:
    row = Row("u", "a.txt", "resume", "ocr", ok=True)
    assert Results.of([row]).model_dump() == {"results": [msgspec.structs.asdict(row)]}
