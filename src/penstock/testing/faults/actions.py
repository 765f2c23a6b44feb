"""What can happen to a call."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import asyncio
    from datetime import timedelta

    from ...clock import Clock


class Killed(BaseException):
    """The process is as good as dead: nothing that it does from here on has an effect.

    Not an Exception, so that no handler takes it for an error and goes on.
    """


@dataclass(frozen=True, slots=True)
class Action:
    """Some trouble. One of the two functions is set."""

    strike: Callable[[], None] | None = None
    """Happens at once; what it raises, the caller gets."""
    wait: Callable[[], Awaitable[object]] | None = None
    """Takes its time; for calls that are awaited only."""
    is_death: bool = False
    """Whether the wrapped ports are dead from here on."""


def die() -> Action:
    """Raise `Killed`, here and from every later call of every port that is wrapped by the same `Faults`."""

    def strike() -> NoReturn:
        raise Killed

    return Action(strike, is_death=True)


def fail(error: Exception) -> Action:
    """Raise `error`."""

    def strike() -> NoReturn:
        raise error

    return Action(strike)


def delay(duration: timedelta, clock: Clock) -> Action:
    """Wait for `duration` on `clock`."""
    return Action(wait=lambda: clock.sleep(duration))


def hold(until: asyncio.Event) -> Action:
    """Wait until the test sets the event."""
    return Action(wait=until.wait)


def kill_process() -> Action:
    """End this very process with SIGKILL: no handler, no `finally`, nothing flushed."""
    return Action(lambda: os.kill(os.getpid(), signal.SIGKILL))
