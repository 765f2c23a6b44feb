from __future__ import annotations

from penstock.cli.exits import Status


def test_the_numbers_are_a_promise() -> None:
    assert {status.name: status.value for status in Status} == {
        "DONE": 0,
        "NOT_WELL": 1,
        "ERROR": 2,
        "NOTHING_MATCHED": 3,
        "PARTLY_FAILED": 4,
        "INTERRUPTED": 130,
    }
