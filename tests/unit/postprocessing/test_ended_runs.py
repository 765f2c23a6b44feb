from __future__ import annotations

from penstock.core.progress import Progress, Status
from penstock.postprocessing.ended_runs import EndedRuns


def run(upload_id: str, run_id: str) -> Progress:
    return Progress(upload_id=upload_id, run_id=run_id, status=Status("finished"))


def test_a_run_is_one_of_its_upload() -> None:
    """Whoever sends events may give the same ID to those of several uploads."""
    ended = EndedRuns()
    ended.note(run("u", "1"))
    assert ended.have("u", "1")
    assert not ended.have("v", "1")
    assert not ended.have("u", "2")


def test_a_run_without_a_name_is_not_told_from_the_next() -> None:
    ended = EndedRuns()
    ended.note(run("u", ""))
    assert not ended.have("u", "")


def test_only_the_latest_are_known() -> None:
    ended = EndedRuns()
    for number in range(10_001):
        ended.note(run(str(number), "1"))
    assert [ended.have(str(number), "1") for number in (0, 1, 10_000)] == [False, True, True]
