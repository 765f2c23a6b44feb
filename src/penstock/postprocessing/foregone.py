"""Decides about uploads that no step is for, without a record and without a word on the bus.

For where gateway and coordinator are one process, and the bus carries nothing out of it: what the coordinator would
save, say, hear and forget again within a millisecond is decided by the same rules, and told to the caller at once.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..core.machine import decide
from ..core.progress import State
from ..events.types import Envelope, Outcome
from .observer import Observer

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..clock import Clock
    from ..core.emit import Emit
    from ..core.policy import Policy
    from ..telemetry import Metrics


class Foregone:
    """Knows what is decided before it is asked.

    Args:
        policy: which steps are for which uploads.
        clock: dates decisions.
        metrics: counts them.
    """

    def __init__(self, policy: Policy, clock: Clock, metrics: Metrics) -> None:
        self._policy = policy
        self._clock = clock
        self._observer = Observer(metrics)

    def __call__(self, beginning: Emit) -> Callable[[], None] | None:
        """Decide on the beginning of an upload's first run.

        Returns:
            None if there are steps to run. Otherwise the upload is to be released, and what is returned is to be called
            once it is: it counts and logs the decision.
        """
        received = Envelope(event=beginning.event, event_id=beginning.event_id, initiator_id=beginning.initiator_id)
        now = self._clock.now()
        transition = decide(None, received, now, self._policy)
        decided = transition.progress
        if decided is None or decided.state is not State.FINISHED or decided.status.outcome != Outcome.CONTINUE:
            return None
        return partial(self._observer.note, decided.upload_id, None, received, transition, now)
