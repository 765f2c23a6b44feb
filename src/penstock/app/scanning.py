"""The step `virusscan` while it runs: its scanner is looked after, uploads that it holds go on, and all can be seen."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

from ..antivirus.base import Circuit, SupportsStates, SupportsTryNow
from ..errors import PenstockError
from ..health import Check

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from ..antivirus.base import Scanner, ScannerState
    from ..clock import Clock
    from ..steps.base import GuardedStep
    from ..telemetry import Metrics

    Hurry: TypeAlias = Callable[[Sequence[str]], Awaitable[Sequence[str]]]
    """Has uploads go on; returns those of which that cannot be asked yet."""
    Noted: TypeAlias = Callable[[], Awaitable[Sequence[str]]]
    """Returns uploads that other instances have held."""

log = structlog.get_logger(__name__)

_SELF_TEST_AGAIN: Final = timedelta(seconds=2)
_HURRY_PAUSE_SECONDS: Final = 10.0
_HURRY_PAUSE_LIMIT_SECONDS: Final = 3600.0
_NOTED_AGAIN_SECONDS: Final = 600.0
"""How often we ask for the uploads of others although our scanner has worked all the time."""


def places_of(state: ScannerState) -> list[Check]:
    """Tell which of several engines that stand in for each other are left alone."""
    hint = "The others do its work. Look at it; it is taken back by itself when it finds EICAR."
    return [
        Check(f"{state.scanner} at {place.address}", ok=False, detail=place.problem, hint=hint)
        for place in state.places
        if place.problem
    ]


class Scanning:
    """The step `virusscan` with its scanner, and what is to be seen of them."""

    def __init__(self, step: GuardedStep, scanner: Scanner, clock: Clock, *, test_every: timedelta) -> None:
        self.definition = step.definition
        self.held = step.held
        """The uploads that wait because the scanner was not there."""
        self._step = step
        self._scanner = scanner
        self._clock = clock
        self._test_every = test_every
        self._hurried_at = float("-inf")
        self._pause_seconds = 0.0
        self._heard_at = float("-inf")
        self._was_away = True
        self._noted_at = float("-inf")
        self._left: Sequence[str] = ()
        """Those that could not be asked for yet, such as while the answer that failed is under way."""

    async def watch(self) -> None:
        """Put the scanner to the test again and again, until cancelled."""
        await self._step.watch(self._test_every, _SELF_TEST_AGAIN)

    async def look_after(self, hurry: Hurry, noted: Noted | None = None) -> None:
        """Try again and again a scanner that is left alone, and call `hurry` when it works, until cancelled.

        Otherwise nobody might ask it for hours: all uploads wait for their next try, in longer and longer pauses.
        `hurry` gets the IDs of the uploads that were held because the scanner was not there, and returns those that
        remain so. Each time costs an upload an attempt for which the scanner is away again, so the pauses between two
        times double, until an hour was quiet. `noted` tells which uploads others have held; it is asked when the
        scanner has been away, or we have, and else every ten minutes: whoever held them may have been killed.
        """
        while True:
            try:
                await self._look(hurry, noted)
            except Exception:  # a mistake of ours must not be the end of looking
                log.exception("held_uploads_not_looked_after")
            await self._clock.sleep(_SELF_TEST_AGAIN)

    async def _look(self, hurry: Hurry, noted: Noted | None) -> None:
        if any(state.circuit is Circuit.OPEN for state in self._states()):
            await self._step.check()  # the breaker makes a probe of it as soon as the pause is over
        if self._step.problem or any(state.circuit is not Circuit.CLOSED for state in self._states()):
            self._was_away = True
        elif self._clock.monotonic() - self._hurried_at >= self._pause_seconds:
            await self._go_on(hurry, noted)
        elif self._left:
            await self._have_go_on(self.held.take(self._left), hurry)

    async def _go_on(self, hurry: Hurry, noted: Noted | None) -> None:
        others: Sequence[str] = ()
        now = self._clock.monotonic()
        if noted is not None and (self._was_away or now - self._noted_at >= _NOTED_AGAIN_SECONDS):
            try:
                others = await noted()
                self._was_away, self._noted_at = False, now
            except PenstockError as error:
                log.warning("uploads_of_others_not_known", error=str(error))  # asked again next time
        held = list(dict.fromkeys([*self.held.take(), *others]))
        if await self._have_go_on(held, hurry):
            self._lengthen_pause()

    async def _have_go_on(self, held: Sequence[str], hurry: Hurry) -> int:
        """Ask for uploads; return how many of them go on. The others are held still, and asked for soon."""
        self._left = ()
        if not held:
            return 0
        self._left = held  # unless we hear otherwise
        try:
            self._left = await hurry(held)
        except PenstockError as error:
            log.warning("uploads_not_hurried", uploads=len(held), error=str(error))
        finally:
            self.hold(self._left)
        if gone := len(held) - len(self._left):
            log.info("uploads_hurried", uploads=gone)
        return gone

    def _lengthen_pause(self) -> None:
        now = self._clock.monotonic()
        long_ago = now - self._hurried_at > self._pause_seconds + _HURRY_PAUSE_LIMIT_SECONDS
        doubled = min(2 * self._pause_seconds, _HURRY_PAUSE_LIMIT_SECONDS)
        self._pause_seconds = _HURRY_PAUSE_SECONDS if long_ago else doubled
        self._hurried_at = now

    def hold(self, upload_ids: Iterable[str]) -> None:
        """Have uploads hurried that wait for another attempt."""
        for upload_id in upload_ids:
            self.held.hold(upload_id)

    def on_held(self, keep: Callable[[str], Awaitable[None]]) -> None:
        """Have `keep` called with each upload that is held, before its answer is given."""
        self._step.on_held = keep

    def somebody_works(self) -> None:
        """Hear that another instance has uploads go on: its scanner works, so ours is tried, even if it rests."""
        now = self._clock.monotonic()
        if now - self._heard_at >= _SELF_TEST_AGAIN.total_seconds() and isinstance(self._scanner, SupportsTryNow):
            self._heard_at = now
            self._scanner.try_now()

    def checks(self) -> list[Check]:
        """Tell whether the scanner is used, and if not, why; and what else is not as it should be."""
        problem = self._step.problem
        detail = problem or f"{self._scanner.name}: the EICAR test file is found."
        hint = "Uploads are held back until it works; then they go on by themselves." if problem else ""
        checks = [Check("scanner", not problem, detail, hint, gates=True)]
        for state in self._states():
            if state.circuit is not Circuit.CLOSED:
                detail = f"Not asked, but for one request now and then: {state.failures} in a row have failed. "
                hint = "Look at the scanner. All goes on by itself when it answers."
                checks.append(Check(f"scanner {state.scanner}", ok=False, detail=detail + state.last_error, hint=hint))
            checks += places_of(state)
            if state.outdated:
                checks.append(Check(f"rules of {state.scanner}", ok=False, detail=state.outdated, hint="Correct them."))
        return checks

    def look_up(self, metrics: Metrics) -> None:
        """Set the metrics of the scanner."""
        metrics.scanner_ready.set(not self._step.problem)
        for state in self._states():
            metrics.scanner_rules_outdated.labels(state.scanner).set(bool(state.outdated))
            for place in state.places:
                metrics.scanner_place_up.labels(state.scanner, place.address).set(not place.problem)
            metrics.scanner_failures.labels(state.scanner).set(state.failures)
            for circuit in Circuit:
                metrics.scanner_circuit.labels(state.scanner, circuit).set(state.circuit is circuit)

    def _states(self) -> Sequence[ScannerState]:
        return self._scanner.states() if isinstance(self._scanner, SupportsStates) else ()
