"""The rules, one by one, and every pair of state and input that has none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest

from penstock.core import emit
from penstock.core.machine import TABLE, decide, kind_of
from penstock.core.policy import Policy
from penstock.core.progress import Progress, State, Status
from penstock.core.runs import run_id
from penstock.core.transition import Announce, Input, Kind, Tick, Transition, Verdict
from penstock.events.gotime import ZERO_TIME, format_time
from penstock.events.types import (
    BytesReceived,
    CancelPostprocessing,
    Envelope,
    Event,
    PostprocessingFinished,
    PostprocessingRetry,
    PostprocessingStepFinished,
    PostprocessingStepProgress,
    RestartPostprocessing,
    ResumePostprocessing,
    StartPostprocessingStep,
    UploadReady,
    User,
    UserId,
    VirusscanResult,
)

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
POLICY = Policy.create(
    ["virusscan", "delay", "ocr"],
    delay=timedelta(seconds=10),
    max_retries=2,
    retry_backoff=timedelta(seconds=4),
    step_timeouts={"virusscan": timedelta(minutes=5)},
)


SHARED = msgspec.structs.replace(POLICY, ended_kept=timedelta(minutes=5))
"""As where several instances share a store."""


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def said(event: Event, event_id: str = "event", causation_id: str = "") -> Envelope:
    return Envelope(event=event, event_id=event_id, causation_id=causation_id, initiator_id="client")


def received(event_id: str = "first") -> Envelope:
    return said(BytesReceived(upload_id="u", filename="f.txt", filesize=3, url="file:///f"), event_id)


def finished(outcome: str, step: str = "virusscan", event_id: str = "answer", causation_id: str = "") -> Envelope:
    event = PostprocessingStepFinished(upload_id="u", finished_step=step, outcome=outcome)
    return said(event, event_id, causation_id)


def begun(policy: Policy = POLICY) -> Progress:
    progress = decide(None, received(), NOW, policy).progress
    assert progress is not None
    return progress


def go(progress: Progress | None, *inputs: Input, now: datetime = NOW, policy: Policy = POLICY) -> Transition:
    transition = Transition(progress, Verdict.IGNORED)
    for one in inputs:
        transition = decide(transition.progress, one, now, policy)
    return transition


def kinds(transition: Transition) -> list[type[Event]]:
    return [type(one.event) for one in transition.emits]


IN_STATE: dict[State, Callable[[], Progress | None]] = {
    State.NONE: lambda: None,
    State.STEP: begun,
    State.BACKOFF: lambda: go(begun(), finished("retry")).progress,
    State.DELAY: lambda: go(begun(), finished("continue")).progress,
    State.FINISHED: lambda: go(begun(), finished("abort")).progress,
    State.FAILED: lambda: go(begun(), finished("abort"), said(UploadReady(upload_id="u", failed=True), "ur")).progress,
    State.ENDED: lambda: go(begun(), finished("abort"), said(UploadReady(upload_id="u"), "ur"), policy=SHARED).progress,
}
STEP_OF = {State.STEP: "virusscan", State.BACKOFF: "virusscan", State.DELAY: "delay"}


def input_of(kind: Kind, state: State) -> Input:
    step = STEP_OF.get(state, "finished")
    inputs: dict[Kind, Input] = {
        Kind.RECEIVED: received("another"),
        Kind.CONTINUE: finished("continue", step, "news"),
        Kind.RETRY: finished("retry", step, "news"),
        Kind.STOP: finished("delete", step, "news"),
        Kind.PROGRESS: said(PostprocessingStepProgress(upload_id="u", step=step, fraction=0.5), "beat"),
        Kind.DELAY_STARTED: said(StartPostprocessingStep(upload_id="u", step_to_start="delay"), "news"),
        Kind.RELEASED: said(UploadReady(upload_id="u"), "news"),
        Kind.RELEASE_FAILED: said(UploadReady(upload_id="u", failed=True), "news"),
        Kind.RESUME: said(ResumePostprocessing(upload_id="u"), "news"),
        Kind.CANCEL: said(CancelPostprocessing(upload_id="u"), "news"),
        Kind.TICK: Tick(),
        Kind.ANNOUNCE: Announce(),
    }
    return inputs[kind]


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("kind", Kind)
def test_every_pair_of_state_and_input_ends_where_the_table_says(state: State, kind: Kind) -> None:
    before = IN_STATE[state]()
    assert (State.NONE if before is None else before.state) is state
    asked = input_of(kind, state)
    assert kind_of(asked) is kind
    for now in (NOW, NOW + timedelta(days=2), NOW - timedelta(days=2)):
        transition = decide(before, asked, now, POLICY)
        after = State.NONE if transition.progress is None else transition.progress.state
        if (state, kind) in TABLE:
            assert after in TABLE[state, kind][1]
        else:
            assert transition.progress is before
            assert transition.emits == ()
            assert transition.verdict is not Verdict.APPLIED


def test_steps_run_in_their_order_and_end_in_continue() -> None:
    first = decide(None, received(), NOW, POLICY)
    assert kinds(first) == [StartPostprocessingStep]
    assert first.progress is not None
    assert (first.progress.status.current_step, first.progress.steps) == ("virusscan", ("virusscan", "delay", "ocr"))
    assert first.emits[0].initiator_id == "client"
    delay = go(first.progress, finished("continue"))
    assert delay.progress is not None
    assert delay.progress.resume_at == NOW + seconds(10)
    assert go(delay.progress, Tick(), now=NOW + seconds(9)).verdict is Verdict.IGNORED
    ocr = go(delay.progress, Tick(), now=NOW + seconds(10))
    assert isinstance(ocr.emits[0].event, StartPostprocessingStep)
    assert ocr.emits[0].event.step_to_start == "ocr"
    done = go(ocr.progress, finished("continue", "ocr", "last"))
    assert isinstance(done.emits[0].event, PostprocessingFinished)
    assert done.emits[0].event.outcome == "continue"
    assert go(done.progress, said(UploadReady(upload_id="u"), "ready")).progress is None


def test_without_steps_the_upload_is_decided_at_once() -> None:
    transition = decide(None, received(), NOW, Policy.create([]))
    assert kinds(transition) == [PostprocessingFinished]


def test_a_delay_that_is_not_listed_is_the_last_step_and_one_of_no_duration_is_passed() -> None:
    assert Policy.create(["a", "b"], delay=seconds(1)).steps == ("a", "b", "delay")
    assert Policy.create(["delay", "b"], delay=seconds(1)).steps == ("delay", "b")
    passed = decide(None, received(), NOW, Policy.create(["delay", "b"]))
    assert [one.event.step_to_start for one in passed.emits if isinstance(one.event, StartPostprocessingStep)] == [
        "delay",
        "b",
    ]


@pytest.mark.parametrize("outcome", ["abort", "delete", "quarantine", ""])
def test_other_outcomes_end_the_upload_as_they_are(outcome: str) -> None:
    transition = go(begun(), finished(outcome))
    assert isinstance(transition.emits[0].event, PostprocessingFinished)
    assert transition.emits[0].event.outcome == outcome


def test_retries_back_off_and_then_abort() -> None:
    progress: Progress | None = begun()
    pauses = []
    now = NOW
    for attempt in (1, 2):
        transition = go(progress, finished("retry", event_id=f"retry-{attempt}"), now=now)
        assert kinds(transition) == [PostprocessingRetry]
        assert transition.progress is not None
        assert transition.progress.resume_at is not None
        pauses.append(transition.progress.resume_at - now)
        now = transition.progress.resume_at
        again = go(transition.progress, Tick(), now=now)
        assert kinds(again) == [StartPostprocessingStep]
        assert again.progress is not None
        assert again.progress.attempt == attempt + 1
        progress = again.progress
    assert pauses == [seconds(4), seconds(8)]
    over = go(progress, finished("retry", event_id="retry-3"), now=now)
    assert isinstance(over.emits[0].event, PostprocessingFinished)
    assert over.emits[0].event.outcome == "abort"
    assert over.progress is not None
    assert over.progress.failures == 3


def test_each_step_has_its_own_budget_of_retries() -> None:
    progress = go(begun(), finished("retry", event_id="1")).progress
    progress = go(progress, Tick(), now=NOW + seconds(4)).progress
    progress = go(progress, finished("continue", event_id="2"), now=NOW + seconds(5)).progress
    progress = go(progress, Tick(), now=NOW + seconds(20)).progress
    assert progress is not None
    assert (progress.status.current_step, progress.step_failures, progress.failures) == ("ocr", 0, 1)


def test_the_formula_of_the_backoff_and_its_end() -> None:
    policy = Policy.create([], retry_backoff=seconds(5))
    assert [policy.backoff(n) for n in (1, 2, 3, 4)] == [seconds(5), seconds(10), seconds(20), seconds(40)]
    assert policy.backoff(14) == seconds(5 * 2**13)
    assert policy.backoff(41) == policy.backoff(10_000) == policy.max_backoff


def test_a_result_explains_itself() -> None:
    infected = VirusscanResult(infected=True, description="EICAR")
    event = PostprocessingStepFinished(upload_id="u", finished_step="virusscan", outcome="delete", result=infected)
    progress = go(begun(), said(event)).progress
    assert progress is not None
    assert progress.last_error == "infected: EICAR"


def test_a_repeat_of_what_led_here_says_again_what_follows_and_a_later_one_nothing() -> None:
    first = decide(None, received(), NOW, POLICY)
    again = go(first.progress, received())
    assert (again.verdict, again.emits) == (Verdict.REPEATED, first.emits)
    moved = go(first.progress, finished("continue")).progress
    late = go(moved, received())
    assert (late.verdict, late.emits) == (Verdict.DUPLICATE, ())
    assert go(moved, finished("continue")).verdict is Verdict.REPEATED


def test_of_a_sender_that_gives_one_id_to_all_its_events_none_is_taken_for_another() -> None:
    """A step in a script may do so; the Go services never look at IDs."""
    policy = Policy.create(["virusscan", "ocr"], retry_backoff=seconds(4))
    first = decide(None, received("u"), NOW, policy).progress
    retried = go(first, finished("retry", event_id="u"), policy=policy)
    assert retried.verdict is Verdict.APPLIED
    assert go(retried.progress, finished("retry", event_id="u"), policy=policy).verdict is Verdict.REPEATED
    second = go(retried.progress, Tick(), now=NOW + seconds(4), policy=policy).progress
    for answer in (finished("continue", event_id="u"), finished("continue", "ocr", event_id="u")):
        moved = go(second, answer, policy=policy)
        assert moved.verdict is Verdict.APPLIED
        assert go(moved.progress, received("u"), policy=policy).verdict is Verdict.DUPLICATE
        second = moved.progress
    assert second is not None
    assert second.state is State.FINISHED
    assert go(second, said(ResumePostprocessing(upload_id="u"), "u"), policy=policy).verdict is Verdict.APPLIED
    assert go(second, said(UploadReady(upload_id="u", failed=True), "u"), policy=policy).verdict is Verdict.APPLIED


def test_answers_about_the_past_are_dropped() -> None:
    progress = begun()
    start = emit.awaited_id(progress)
    retried = go(progress, finished("retry", event_id="1", causation_id=start)).progress
    second = go(retried, Tick(), now=NOW + seconds(4)).progress
    assert go(second, finished("continue", event_id="late", causation_id=start)).verdict is Verdict.STALE
    assert go(second, finished("continue", "ocr", "other")).verdict is Verdict.STALE
    assert go(None, finished("continue")).verdict is Verdict.UNKNOWN


def test_a_late_answer_during_the_backoff_is_welcome() -> None:
    progress = begun()
    start = emit.awaited_id(progress)
    waiting = go(progress, finished("retry", event_id="1", causation_id=start)).progress
    assert go(waiting, finished("continue", event_id="2", causation_id=start)).verdict is Verdict.APPLIED


def test_a_deadline_counts_as_a_retry_and_a_sign_of_life_puts_it_off() -> None:
    progress = begun()
    assert progress.deadline_at == NOW + timedelta(minutes=5)
    beat = said(PostprocessingStepProgress(upload_id="u", step="virusscan", fraction=0.25), "beat")
    alive = go(progress, beat, now=NOW + timedelta(minutes=4)).progress
    assert alive is not None
    assert (alive.deadline_at, alive.fraction) == (NOW + timedelta(minutes=9), 0.25)
    lapsed = go(alive, Tick(), now=NOW + timedelta(minutes=9))
    assert kinds(lapsed) == [PostprocessingRetry]
    assert lapsed.progress is not None
    assert "no answer" in lapsed.progress.last_error


def test_what_is_not_answered_is_said_again_within_two_minutes_and_then_left() -> None:
    policy = Policy.create(["slow"])
    progress: Progress | None = begun(policy)
    ids, now = {emit.awaited_id(begun(policy))}, NOW
    for pause in (15, 30, 60):
        now += seconds(pause)
        transition = go(progress, Tick(), now=now, policy=policy)
        assert kinds(transition) == [StartPostprocessingStep]
        ids.add(transition.emits[0].event_id)
        progress = transition.progress
    assert len(ids) == 1
    assert progress is not None
    assert progress.due_at is None
    assert progress.stalled(now + timedelta(minutes=11), 600)


@pytest.mark.parametrize(("run", "pauses"), [(run_id("u", 2), (15, 30, 60, 135)), ("foreign", (15, 30, 60))])
def test_a_decision_is_said_once_more_when_streams_have_forgotten_it_to_a_storage_side_that_recognises_it(
    run: str, pauses: tuple[int, ...]
) -> None:
    """Its confirmation may be what was lost. A Go storage provider that is slow would release the file twice."""
    progress, now, ids = go(None, received(run), policy=Policy()).progress, NOW, set[str]()
    for pause in pauses:
        assert progress is not None
        assert progress.due_at == now + seconds(pause)
        now += seconds(pause)
        transition = go(progress, Tick(), now=now, policy=Policy())
        assert kinds(transition) == [PostprocessingFinished]
        ids.add(transition.emits[0].event_id)
        progress = transition.progress
    assert progress is not None
    assert progress.due_at is None
    assert ids == {emit.awaited_id(progress)}


def test_resume_tries_now_and_restart_begins_anew() -> None:
    waiting = go(begun(), finished("retry")).progress
    resumed = go(waiting, said(ResumePostprocessing(upload_id="u"), "resume"))
    assert resumed.progress is not None
    assert (resumed.progress.state, resumed.progress.attempt) == (State.STEP, 2)
    restarted = go(resumed.progress, received("second run"))
    assert restarted.progress is not None
    assert (restarted.progress.attempt, restarted.progress.run) == (1, "second run")
    unknown = go(None, said(ResumePostprocessing(upload_id="u"), "resume"))
    assert kinds(unknown) == [RestartPostprocessing]


def test_each_resume_says_a_decision_as_a_new_statement() -> None:
    """The other side may have done what the first one said, and lost it since: a repeat would pass for known."""
    decided = go(begun(), finished("abort"))
    ids = [decided.emits[0].event_id]
    for number in range(3):
        assert decided.progress is not None
        again = go(decided.progress, said(ResumePostprocessing(upload_id="u"), f"resume {number}"))
        assert kinds(again) == [PostprocessingFinished]
        assert again.progress is not None
        assert again.progress.attempt == decided.progress.attempt + 1
        ids.append(again.emits[0].event_id)
        decided = again
    assert len(set(ids)) == len(ids)


def test_cancel_forgets_and_later_answers_are_unknown() -> None:
    gone = go(begun(), said(CancelPostprocessing(upload_id="u"), "cancel"))
    assert gone.progress is None
    assert go(None, finished("continue")).verdict is Verdict.UNKNOWN


def test_a_rejected_upload_is_kept_for_a_restart_and_a_deleted_one_is_not() -> None:
    failed = said(UploadReady(upload_id="u", failed=True), "ready")
    kept = go(begun(), finished("abort"), failed).progress
    assert kept is not None
    assert kept.state is State.FAILED
    assert go(begun(), finished("delete"), failed).progress is None


def test_records_of_a_go_instance_are_gone_on_with() -> None:
    bare = Progress(upload_id="u", steps=("virusscan", "delay"), status=Status("virusscan", "retry"))
    assert bare.neglected(NOW)
    assert kinds(go(bare, Tick())) == [StartPostprocessingStep]
    waiting = msgspec.structs.replace(bare, status=Status("delay"))
    timed = go(waiting, Tick()).progress
    assert timed is not None
    assert timed.resume_at == NOW + seconds(10)


def test_a_clock_that_was_set_back_does_not_prolong_a_pause() -> None:
    waiting = go(begun(), finished("retry")).progress
    yesterday = NOW - timedelta(days=1)
    assert waiting is not None
    assert waiting.neglected(yesterday)
    moved = go(waiting, Tick(), now=yesterday).progress
    assert moved is not None
    assert moved.resume_at == yesterday + seconds(4)


# --- runs -------------------------------------------------------------------------------------------------------------


def sent(event_id: str, at: datetime | None, user: User | None = None) -> Envelope:
    event = BytesReceived(upload_id="u", executing_user=user)
    timestamp = ZERO_TIME if at is None else format_time(at)
    return Envelope(event=event, event_id=event_id, timestamp=timestamp)


def test_the_first_event_of_an_earlier_run_does_not_bring_it_back_though_it_was_never_seen() -> None:
    second = go(None, sent("second", NOW)).progress
    for late in (sent("first", NOW - seconds(0.001)), sent("first", NOW - timedelta(hours=1))):
        transition = go(second, late)
        assert (transition.verdict, transition.progress, transition.emits) == (Verdict.STALE, second, ())


@pytest.mark.parametrize("state", [State.BACKOFF, State.DELAY, State.FINISHED, State.FAILED, State.ENDED])
def test_it_does_not_do_so_in_any_state(state: State) -> None:
    progress = IN_STATE[state]()
    assert progress is not None
    progress = msgspec.structs.replace(progress, sent_at=NOW)
    assert go(progress, sent("earlier", NOW - seconds(30))).verdict is Verdict.STALE
    assert go(progress, sent("later", NOW + seconds(30))).verdict is Verdict.APPLIED


def test_redelivered_first_events_of_both_runs_change_nothing() -> None:
    both = [sent("first", NOW), sent("second", NOW + seconds(60))]
    progress = go(None, *both).progress
    assert progress is not None
    assert progress.run == "second"
    assert go(progress, both[0]).verdict is Verdict.DUPLICATE
    assert go(progress, both[1]).verdict is Verdict.REPEATED
    moved = go(progress, finished("continue"), *both).progress
    assert moved is not None
    assert (moved.run, moved.status.current_step) == ("second", "delay")


@pytest.mark.parametrize("at", [None, NOW, NOW + seconds(1), NOW - timedelta(hours=2)])
def test_a_restart_is_taken_where_the_time_does_not_speak_against_it(at: datetime | None) -> None:
    """Also after the clock of the sender was set back, and where a Go instance wrote the record."""
    progress = go(None, sent("first", NOW)).progress
    restarted = go(progress, sent("second", at))
    assert restarted.progress is not None
    assert restarted.progress.run == "second"


def test_runs_of_our_own_storage_side_have_numbers_and_clocks_do_not_matter() -> None:
    numbered = [run_id("u", number) for number in (1, 2, 3)]
    second = go(None, sent(numbered[1], NOW)).progress
    assert go(second, sent(numbered[0], NOW + timedelta(days=1))).verdict is Verdict.STALE
    third = go(second, sent(numbered[2], NOW - seconds(30)))
    assert third.progress is not None
    assert third.progress.run == numbered[2]


def test_a_time_of_sending_that_is_none_is_no_reason_to_fail() -> None:
    for text in ("0000-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+05:00"):
        event = BytesReceived(upload_id="u")
        progress = go(None, Envelope(event=event, event_id="odd", timestamp=text)).progress
        assert progress is not None
        assert progress.sent_at is None


def test_who_uploaded_the_file_is_remembered_over_a_restart() -> None:
    alice, nobody = User(id=UserId(opaque_id="alice")), User(id=UserId(opaque_id="postprocessing-restart"))
    first = go(None, msgspec.structs.replace(sent("first", NOW, alice), initiator_id="client"))
    again = go(first.progress, sent("second", NOW + seconds(1), nobody))
    assert again.progress is not None
    assert (again.progress.user, again.progress.initiator_id) == (alice, "client")
    bob = User(id=UserId(opaque_id="bob"))
    other = go(again.progress, sent("third", NOW + seconds(2), bob)).progress
    assert other is not None
    assert other.user == bob
    unknown = go(None, sent("first", NOW, nobody)).progress
    assert unknown is not None
    assert unknown.user == nobody


# --- what is done -----------------------------------------------------------------------------------------------------


def test_what_is_done_is_remembered_where_others_may_get_its_first_event_again() -> None:
    ready = said(UploadReady(upload_id="u"), "ready")
    done = go(begun(), finished("abort"), ready, policy=SHARED).progress
    assert done is not None
    assert (done.state, done.filename, done.due_at) == (State.ENDED, "", NOW + timedelta(minutes=5))
    for late in (received(), finished("abort"), ready, said(ResumePostprocessing(upload_id="u"), "resume")):
        transition = go(done, late, policy=SHARED)
        assert (transition.progress, transition.emits) == (done, ())
    yesterday = NOW - timedelta(days=1)
    moved = go(done, Tick(), now=yesterday, policy=SHARED).progress
    assert moved is not None
    assert moved.due_at == yesterday + timedelta(minutes=5)
    assert go(done, Tick(), now=NOW + seconds(299), policy=SHARED).progress is done
    assert go(done, Tick(), now=NOW + seconds(300), policy=SHARED).progress is None


def test_a_new_run_of_what_is_done_begins() -> None:
    done = IN_STATE[State.ENDED]()
    anew = go(done, received("another"), policy=SHARED).progress
    assert anew is not None
    assert (anew.state, anew.filename) == (State.STEP, "f.txt")


def test_a_step_may_be_called_ended() -> None:
    policy = Policy.create(["ended"])
    progress = begun(policy)
    assert progress.state is State.STEP
    assert go(progress, finished("continue", "ended"), policy=policy).progress is not None
