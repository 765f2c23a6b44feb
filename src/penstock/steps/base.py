"""What the application asks of a built-in step that depends on something outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta

    from ..antivirus.alert import Alert
    from .held import Held
    from .kit import StepDefinition


class GuardedStep(Protocol):
    """A step that is only used while what it depends on has passed a test."""

    definition: StepDefinition
    """The step itself."""
    problem: str
    """Why it is not used, for people; empty when it is."""

    async def check(self) -> None:
        """Test what it depends on; from then on the step is used, or not."""
        ...

    held: Held
    """The uploads that wait for another attempt because what it depends on was not there."""
    on_held: Callable[[str], Awaitable[None]] | None
    """Called with the ID of each upload that is held, before its answer is given."""
    on_alert: Callable[[Alert], None] | None
    """Called with what an administrator is to be told."""

    async def watch(self, interval: timedelta, retry: timedelta) -> None:
        """Test every `interval`, and every `retry` while there is a problem, until cancelled."""
        ...
