"""What the application asks of a built-in step that depends on something outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import timedelta

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

    @property
    def held(self) -> int:
        """How many uploads wait for another attempt because what it depends on was not there."""
        ...

    def take_held(self) -> list[str]:
        """Return the IDs of these uploads, and forget them."""
        ...

    def hold(self, upload_id: str) -> None:
        """Remember an upload as one of them."""
        ...

    def let_go(self, upload_id: str) -> None:
        """Forget an upload: it does not wait any more."""
        ...

    async def watch(self, interval: timedelta, retry: timedelta) -> None:
        """Test every `interval`, and every `retry` while there is a problem, until cancelled."""
        ...
