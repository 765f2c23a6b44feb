"""Decides about uploads that no step is for, without a record and without a word on the bus.

For where gateway and coordinator are one process, and the bus carries nothing out of it: what the coordinator would
save, say, hear and forget again within a millisecond follows from the policy alone, and is told to the caller at once.
That `core.machine` decides the same, tests make sure of.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from .observer import Observer

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..core.policy import Policy
    from ..events.types import BytesReceived
    from ..telemetry import Metrics


class Foregone:
    """Knows what is decided before it is asked.

    Args:
        policy: which steps are for which uploads.
        metrics: count decisions.
    """

    def __init__(self, policy: Policy, metrics: Metrics) -> None:
        self._policy = policy
        self._observer = Observer(metrics)

    def __call__(self, upload_id: str, beginning: Callable[[], BytesReceived]) -> Callable[[], None] | None:
        """Decide on the beginning of an upload's first run.

        Args:
            upload_id: the upload.
            beginning: returns what would be said to begin it.

        Returns:
            None if there are steps to run. Otherwise the upload is to be released, and what is returned is to be called
            once it is: it counts and logs the decision.
        """
        policy = self._policy
        steps = policy.steps_for(beginning()) if policy.rules else policy.steps
        return None if steps else partial(self._observer.note_foregone, upload_id)
