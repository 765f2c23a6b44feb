"""Random lives of one upload, in a world where everything that can go wrong does, against a plain model of what may be.

The world: coordinators that die before they save, between saving and publishing, and between publishing and
acknowledging; a bus that delivers late, twice and in any order, and goes away for long; steps that answer, ask for a
retry, or are silent; a clock that jumps both ways; operators who resume, restart and cancel.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from itertools import count

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock.core.emit import awaited_id, says_nothing_new
from penstock.core.machine import decide
from penstock.core.policy import Policy
from penstock.core.progress import Progress, State
from penstock.core.runs import run_id
from penstock.core.transition import Announce, Tick, Transition
from penstock.events.gotime import format_time
from penstock.events.types import (
    BytesReceived,
    CancelPostprocessing,
    Envelope,
    PostprocessingFinished,
    PostprocessingStepFinished,
    ResumePostprocessing,
    StartPostprocessingStep,
    UploadReady,
)
from penstock.ids import derived_id

UPLOAD = "0" * 32
MAX_RETRIES = 2


class Death(Enum):
    """When a coordinator dies while it handles an input."""

    NEVER = auto()
    BEFORE_SAVE = auto()
    BEFORE_PUBLISH = auto()
    BEFORE_ACKNOWLEDGE = auto()


DEATHS = st.sampled_from([Death.NEVER, Death.NEVER, Death.NEVER, *Death])


class Life(RuleBasedStateMachine):
    """One upload."""

    answers = Bundle("answers")

    @initialize(
        steps=st.lists(st.sampled_from(["virusscan", "ocr", "delay"]), max_size=3, unique=True),
        timeout=st.sampled_from([None, timedelta(seconds=30)]),
        ended_kept=st.sampled_from([timedelta(0), timedelta(minutes=5)]),
        numbered=st.booleans(),
    )
    def begin(self, steps: list[str], timeout: timedelta | None, ended_kept: timedelta, numbered: bool) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.policy = Policy.create(
            steps,
            delay=timedelta(seconds=4) if "delay" in steps else timedelta(0),
            max_retries=MAX_RETRIES,
            retry_backoff=timedelta(seconds=2),
            step_timeouts={} if timeout is None else {"virusscan": timeout},
            ended_kept=ended_kept,
        )
        self.numbered = numbered
        self.bus_away = False
        self.decided: dict[str, set[str]] = {}
        self.saved: Progress | None = None
        self.inbox: list[Envelope] = []
        self.seen: list[Envelope] = []
        self.starts: dict[str, tuple[str, StartPostprocessingStep]] = {}
        self.decisions: dict[str, PostprocessingFinished] = {}
        self.passed: set[tuple[str, str]] = set()
        self.ended: set[str] = set()
        self.runs = 0
        self.cancelled = False
        self.numbers = count()
        self.receive()

    def receive(self) -> None:
        """The storage side says that all bytes are there; a new run."""
        self.runs += 1
        event = BytesReceived(upload_id=UPLOAD, filename="f", filesize=1)
        event_id = run_id(UPLOAD, self.runs) if self.numbered else f"run {self.runs} of somebody else's"
        self.post(Envelope(event=event, event_id=event_id, timestamp=format_time(self.now)))

    def post(self, envelope: Envelope) -> None:
        self.inbox.append(envelope)

    def handle(self, received: Envelope | Tick | Announce, death: Death) -> bool:
        """What one coordinator does with one input; return whether it acknowledged it."""
        if self.saved is None and isinstance(received, Envelope) and received.event_id in self.ended:
            return True  # the coordinator remembers runs that ended, for longer than a bus brings their events again
        transition = decide(self.saved, received, self.now, self.policy)
        first, then = self.save, self.publish
        died_first, died_then = Death.BEFORE_SAVE, Death.BEFORE_PUBLISH
        if says_nothing_new(self.saved, transition.emits):
            first, then, died_first, died_then = then, first, died_then, died_first
        if death is died_first or not first(transition):
            return False
        if death is died_then or not then(transition):
            return False
        return death is not Death.BEFORE_ACKNOWLEDGE

    def save(self, transition: Transition) -> bool:
        before, self.saved = self.saved, transition.progress
        if before is not None and self.saved is None:
            self.ended.add(before.run_id)
        self.check_order(before, transition.progress)
        return True

    def publish(self, transition: Transition) -> bool:
        if transition.emits and self.bus_away:
            return False
        for emit in transition.emits:
            match emit.event:
                case StartPostprocessingStep():
                    run = transition.progress.run if transition.progress else ""
                    self.starts[emit.event_id] = (run, emit.event)
                case PostprocessingFinished():
                    self.decisions[emit.event_id] = emit.event
                    self.check_decision(emit.event, transition.progress)
                case _:
                    pass
        return True

    # --- what must never be -------------------------------------------------------------------------------------

    def check_decision(self, decided: PostprocessingFinished, progress: Progress | None) -> None:
        assert progress is not None
        outcomes = self.decided.setdefault(progress.run, set())
        outcomes.add(decided.outcome)
        assert len(outcomes) == 1, f"a run was decided in several ways: {outcomes}"
        if decided.outcome == "continue":
            for step in progress.steps:
                assert step == "delay" or (progress.run, step) in self.passed, f"{step} was skipped"

    def check_order(self, before: Progress | None, after: Progress | None) -> None:
        if self.numbered and before is not None and after is not None:
            assert self.number_of(before) <= self.number_of(after), "an earlier run came back"
        if after is None or after.state not in (State.STEP, State.DELAY):
            return
        if before is not None and before.run == after.run and before.state is State.FINISHED:
            raise AssertionError("a decided upload went back into a step")
        for earlier in after.steps[: after.steps.index(after.status.current_step)]:
            assert earlier == "delay" or (after.run, earlier) in self.passed, f"{earlier} was skipped"

    def number_of(self, progress: Progress) -> int:
        return [run_id(UPLOAD, run) for run in range(1, self.runs + 1)].index(progress.run)

    @invariant()
    def never_more_retries_than_allowed(self) -> None:
        if getattr(self, "saved", None) is not None and self.saved is not None:
            assert self.saved.step_failures <= MAX_RETRIES + 1
            waits = self.saved.state in (State.BACKOFF, State.DELAY)
            assert not waits or self.saved.due_at is not None

    # --- what may happen ----------------------------------------------------------------------------------------

    @precondition(lambda self: self.inbox)
    @rule(which=st.integers(0, 1000), death=DEATHS)
    def deliver(self, which: int, death: Death) -> None:
        envelope = self.inbox[which % len(self.inbox)]
        self.seen.append(envelope)
        if self.handle(envelope, death):
            self.inbox.remove(envelope)

    @precondition(lambda self: self.seen)
    @rule(which=st.integers(0, 1000), death=DEATHS)
    def deliver_again(self, which: int, death: Death) -> None:
        self.handle(self.seen[which % len(self.seen)], death)

    @precondition(lambda self: self.starts)
    @rule(which=st.integers(0, 1000), outcome=st.sampled_from(["continue", "continue", "retry", "abort", "delete"]))
    def answer(self, which: int, outcome: str) -> None:
        start_id = sorted(self.starts)[which % len(self.starts)]
        self.reply(start_id, outcome)

    def reply(self, start_id: str, outcome: str) -> None:
        run, start = self.starts[start_id]
        if start.step_to_start == "delay":
            return
        if outcome == "continue":
            self.passed.add((run, start.step_to_start))
        event = PostprocessingStepFinished(upload_id=UPLOAD, finished_step=start.step_to_start, outcome=outcome)
        self.post(Envelope(event=event, event_id=derived_id(start_id, outcome), causation_id=start_id))

    @precondition(lambda self: self.decisions)
    @rule(which=st.integers(0, 1000))
    def confirm(self, which: int) -> None:
        decision_id = sorted(self.decisions)[which % len(self.decisions)]
        failed = self.decisions[decision_id].outcome != "continue"
        event = UploadReady(upload_id=UPLOAD, failed=failed)
        self.post(Envelope(event=event, event_id=derived_id(decision_id, "ready"), causation_id=decision_id))

    @rule(seconds=st.integers(0, 100), death=DEATHS)
    def pass_time(self, seconds: int, death: Death) -> None:
        self.now += timedelta(seconds=seconds)
        if self.saved is not None:
            self.handle(Tick(), death)

    @rule(hours=st.integers(-48, 48))
    def jump(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @rule()
    def cut_or_mend_the_bus(self) -> None:
        self.bus_away = not self.bus_away

    @rule()
    def resume(self) -> None:
        event = ResumePostprocessing(upload_id=UPLOAD)
        self.post(Envelope(event=event, event_id=f"resume-{next(self.numbers)}"))

    @precondition(lambda self: self.runs < 3 and not self.cancelled)
    @rule()
    def restart(self) -> None:
        self.receive()

    @rule()
    def announce(self) -> None:
        if self.saved is not None:
            self.handle(Announce(), Death.NEVER)

    @precondition(lambda self: not self.cancelled)
    @rule()
    def cancel(self) -> None:
        self.cancelled = True
        self.post(Envelope(event=CancelPostprocessing(upload_id=UPLOAD), event_id="cancel"))

    # --- the end ------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """From now on everything works: the upload must come to its end, with no help but the time that passes."""
        if not hasattr(self, "saved"):
            return
        self.bus_away = False
        for _ in range(400):
            while self.inbox:
                self.handle(self.inbox.pop(0), Death.NEVER)
            if self.saved is None or self.saved.state is State.FAILED:
                return
            self.serve(self.saved)
            self.now += timedelta(seconds=5)
            self.handle(Tick(), Death.NEVER)
        raise AssertionError(f"stuck: {msgspec.to_builtins(self.saved)}")

    def serve(self, progress: Progress) -> None:
        """Have the step answer, or the storage side confirm, what is awaited now: if that was ever said to them."""
        awaited = awaited_id(progress)
        if awaited in self.starts:
            self.reply(awaited, "continue")
        elif awaited in self.decisions:
            failed = self.decisions[awaited].outcome != "continue"
            event = UploadReady(upload_id=UPLOAD, failed=failed)
            self.post(Envelope(event=event, event_id=derived_id(awaited, "ready"), causation_id=awaited))


TestLife = Life.TestCase
TestLife.settings = settings(settings.default, stateful_step_count=60)
