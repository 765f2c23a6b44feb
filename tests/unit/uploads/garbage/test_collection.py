"""The rule of garbage collection: what may be the only copy of something alive never goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.blobs.inventory import Found, Stage
from penstock.errors import InvalidRequest
from penstock.uploads.garbage.collection import (
    LEAST_AGE,
    LISTED,
    Find,
    Kind,
    Tally,
    Verdict,
    checked_age,
    judge,
    kind_of,
)
from penstock.uploads.upload import Phase, Upload

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ID = "a" * 32


def found(stage: Stage, age: timedelta = 400 * DAY, size_bytes: int = 7, place: str = "") -> Found:
    return Found(stage, "" if stage is Stage.PROBE else ID, size_bytes, NOW - age, place, "key")


def upload(phase: Phase) -> Upload:
    return Upload(id=ID, filename="a", phase=phase, size_bytes=7, created_at=NOW - 500 * DAY)


def verdict(one: Found, entry: Upload | None, noticed: timedelta | None = 400 * DAY) -> Verdict:
    return judge(one, entry, noticed_at=None if noticed is None else NOW - noticed, now=NOW, older_than=DAY)


@given(
    stage=st.sampled_from([Stage.STAGED, Stage.RELEASED]),
    phase=st.sampled_from([phase for phase in Phase if phase.holds_bytes]),
    age=st.timedeltas(-500 * DAY, 500 * DAY),
    noticed=st.none() | st.timedeltas(-500 * DAY, 500 * DAY),
    size_bytes=st.integers(0, 9),
)
def test_bytes_of_what_the_catalogue_has_are_never_removed(
    stage: Stage, phase: Phase, age: timedelta, noticed: timedelta | None, size_bytes: int
) -> None:
    """Whatever the clocks say."""
    assert verdict(found(stage, age, size_bytes), upload(phase), noticed) in (Verdict.ALIVE, Verdict.PUT_RIGHT)


@given(
    stage=st.sampled_from(Stage),
    age=st.timedeltas(-500 * DAY, 500 * DAY),
    noticed=st.none() | st.timedeltas(-500 * DAY, 500 * DAY),
)
def test_without_an_entry_both_ages_must_agree(stage: Stage, age: timedelta, noticed: timedelta | None) -> None:
    agreed = age >= DAY and (stage is Stage.PROBE or (noticed is not None and noticed >= DAY))
    assert verdict(found(stage, age), None, noticed) is (Verdict.REMOVE if agreed else Verdict.YOUNG)


@pytest.mark.parametrize("phase", [Phase.DELETED, Phase.CANCELLED, Phase.EXPIRED])
@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.PROBE])
def test_what_was_given_up_goes_once_it_is_old(stage: Stage, phase: Phase) -> None:
    assert verdict(found(stage), upload(phase)) is Verdict.REMOVE
    assert verdict(found(stage, DAY / 2), upload(phase)) is Verdict.YOUNG


def test_staged_bytes_of_a_released_upload_are_put_right_once_they_are_old() -> None:
    assert verdict(found(Stage.STAGED), upload(Phase.RELEASED)) is Verdict.PUT_RIGHT
    assert verdict(found(Stage.STAGED, DAY / 2), upload(Phase.RELEASED)) is Verdict.ALIVE
    assert verdict(found(Stage.STAGED, size_bytes=0), upload(Phase.RELEASED)) is Verdict.PUT_RIGHT


def test_copies_of_what_was_rejected_are_withdrawn_from_where_released_bytes_lie() -> None:
    for phase in Phase:
        expected = Verdict.WITHDRAW if phase is Phase.REJECTED else Verdict.ALIVE
        if phase.holds_bytes:
            assert verdict(found(Stage.RELEASED, 2 * LEAST_AGE, place="the bucket"), upload(phase)) is expected
    assert verdict(found(Stage.RELEASED, LEAST_AGE / 2, place="the bucket"), upload(Phase.REJECTED)) is Verdict.ALIVE
    # In a folder of ours it was moved there, and is the only one.
    assert verdict(found(Stage.RELEASED), upload(Phase.REJECTED)) is Verdict.ALIVE


def test_a_mark_says_which_bytes_count_for_as_long_as_there_are_some() -> None:
    for phase in (Phase.RECEIVING, Phase.PROCESSING, Phase.REJECTED):
        assert verdict(found(Stage.MARK), upload(phase)) is Verdict.ALIVE
    assert verdict(found(Stage.MARK), upload(Phase.RELEASED)) is Verdict.REMOVE


def test_parts_of_what_is_being_released_may_be_on_their_way() -> None:
    assert verdict(found(Stage.PARTS), upload(Phase.PROCESSING)) is Verdict.ALIVE
    assert verdict(found(Stage.PARTS), upload(Phase.REJECTED)) is Verdict.ALIVE
    assert verdict(found(Stage.PARTS), upload(Phase.RELEASED)) is Verdict.REMOVE


@pytest.mark.parametrize("stage", [Stage.PIECES, Stage.LENT])
def test_what_goes_with_staged_bytes_stays_as_long_as_they_do(stage: Stage) -> None:
    needed = {Phase.PROCESSING} if stage is Stage.LENT else {Phase.RECEIVING, Phase.PROCESSING, Phase.REJECTED}
    for phase in Phase:
        expected = Verdict.ALIVE if phase in needed else Verdict.REMOVE
        assert verdict(found(stage), upload(phase)) is expected
        assert verdict(found(stage, timedelta()), upload(phase)) in (Verdict.ALIVE, Verdict.YOUNG)


def test_kinds_say_what_something_is() -> None:
    kinds = {stage: kind_of(found(stage), None) for stage in Stage}
    assert kinds == {
        Stage.STAGED: Kind.ORPHAN,
        Stage.PIECES: Kind.ORPHAN,
        Stage.LENT: Kind.ORPHAN,
        Stage.RELEASED: Kind.STRAY,
        Stage.MARK: Kind.TEMPORARY,
        Stage.PROBE: Kind.TEMPORARY,
        Stage.PARTS: Kind.PARTS,
    }
    assert kind_of(found(Stage.STAGED), upload(Phase.EXPIRED)) is Kind.LEFTOVER


def test_an_age_that_could_hit_what_is_in_the_making_is_refused() -> None:
    assert checked_age(timedelta(minutes=5)) == timedelta(minutes=5)
    with pytest.raises(InvalidRequest, match="Say 5m or more"):
        checked_age(timedelta(minutes=4))


def test_a_report_counts_all_and_lists_the_first() -> None:
    tally = Tally(dry_run=False)
    for number in range(LISTED + 1):
        tally.add(Find(kind=Kind.EXPIRED, id=f"{number}", size_bytes=2, done=number > 0))
    tally.add(Find(kind=Kind.ORPHAN, id="young", size_bytes=100, kept=True))
    tally.add(Find(kind=Kind.UNPROCESSED, id="begun", size_bytes=50, done=True))
    report = tally.report()
    assert len(report.finds) == LISTED
    assert (report.found, report.done, report.kept) == (LISTED + 2, LISTED + 1, 1)
    assert (report.size_bytes, report.freed_bytes) == (2 * LISTED + 52, 2 * LISTED)
