"""The kit for writing a step of one's own.

A step is a Python function that gets an upload and says what is to become of it::

    from penstock import Outcome, StepUpload, step

    @step("thumbnail", workers=2)
    def thumbnail(upload: StepUpload) -> Outcome:
        with upload.open() as file:
            ...
        return Outcome.CONTINUE

`penstock serve --steps FILE` runs it where POSTPROCESSING_STEPS names it. docs/guide/writing-steps.md tells all.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeAlias

import msgspec

from ..errors import ConfigurationError
from ..events.types import DELAY, VIRUSSCAN, Outcome, StartPostprocessingStep
from .upload import StepUpload, StopSignal

__all__ = ["Outcome", "StepDefinition", "StepFunction", "StepResult", "StepUpload", "StopSignal", "step"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", re.ASCII)
_RESERVED: Final = {
    DELAY: "the coordinator itself does it",
    "finished": "it means that all steps are done",
}
RESULT_LIMIT_BYTES: Final = 256 * 1024
"""How large a result may be as JSON: it travels in an event, and events have to stay small."""


class StepResult(msgspec.Struct, frozen=True):
    """An outcome with something to say about it."""

    outcome: Outcome
    """What is to become of the upload."""
    result: Any = None
    """Facts for whoever reads the events: a dict of JSON values, at most 256 KiB. None: nothing to say."""
    message: str = ""
    """One sentence for people. With `retry`, `abort` and `delete` it is shown as the reason."""


StepFunction: TypeAlias = Callable[[StepUpload], Outcome | StepResult | Awaitable[Outcome | StepResult]]
"""Works on one upload; with or without `async`."""

Failure: TypeAlias = Callable[[StartPostprocessingStep, str], Any]
"""Puts the reason of a failed attempt into the form that the step's result has."""


def error_result(start: StartPostprocessingStep, message: str) -> dict[str, str]:
    """Return the result that tells people why an attempt failed."""
    del start  # steps whose result has a form of its own copy facts from it
    return {"error": message}


@dataclass(frozen=True, slots=True)
class StepDefinition:
    """A step: its name, its function and how to run it. Can be called like the function itself.

    Raises:
        ConfigurationError: the name is reserved or unfit, or a number is out of range.
    """

    name: str
    """As it appears in the list of steps: letters, digits, `-` and `_`, at most 63 of them."""
    function: StepFunction
    workers: int = 2
    """How many uploads one instance works on at a time."""
    timeout: timedelta | None = None
    """How long the function may go without returning or giving a heartbeat before the attempt counts as failed.
    None: for ever."""
    own_thread: bool = True
    """Whether each call gets a thread of its own, with an event loop of its own if the function is `async`. False
    only for functions that never hold up the event loop of the server."""
    failure: Failure = error_result
    """Makes the result of an attempt that failed."""

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_numbers(self.name, self.workers, self.timeout)

    def __call__(self, upload: StepUpload) -> Any:
        """Call the function, as tests of a step do."""
        return self.function(upload)


def step(name: str, *, workers: int = 2, timeout: timedelta | None = None) -> Callable[[StepFunction], StepDefinition]:
    """Make a step of a function that takes a `StepUpload` and returns an `Outcome` or a `StepResult`.

    The function runs in a thread of its own, so it may compute and block as it likes; an `async` function gets an
    event loop of its own in that thread. If it raises, the attempt has failed: it is repeated after a pause, and the
    exception's message is kept for people to see.

    Args:
        name: The step's name, to be put into the list of steps.
        workers: How many uploads one instance works on at a time.
        timeout: How long the function may go without returning or giving a heartbeat. None: for ever.

    Raises:
        ConfigurationError: the name is reserved or unfit, a number is out of range, or the function cannot be called
            with one upload.
    """
    if callable(name):
        raise ConfigurationError('a step needs a name: write @step("thumbnail") above the function')
    if name == VIRUSSCAN:
        raise ConfigurationError(
            f"a step cannot be called {name!r}: that is the built-in scanner. Choose another name."
        )

    def define(function: StepFunction) -> StepDefinition:
        _check_function(name, function)
        return StepDefinition(name, function, workers=workers, timeout=timeout)

    return define


# What follows checks what a person wrote, whatever its type: step files are not read by a type checker before they run.


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f'{name!r} cannot be the name of a step. Use up to 63 letters, digits, - and _, such as @step("thumbnail").'
        )
    if name in _RESERVED:
        raise ConfigurationError(f"a step cannot be called {name!r}: {_RESERVED[name]}. Choose another name.")


def _check_numbers(name: str, workers: object, timeout: object) -> None:
    if not isinstance(workers, int) or workers < 1:
        raise ConfigurationError(f"step {name!r}: workers={workers!r} has to be a whole number from 1 on")
    if timeout is not None and (not isinstance(timeout, timedelta) or timeout <= timedelta()):
        raise ConfigurationError(f"step {name!r}: timeout={timeout!r} has to be a positive datetime.timedelta, or None")


def _check_function(name: str, function: object) -> None:
    """Refuse what can never work, when it is loaded rather than when the first upload comes."""
    if not callable(function):
        raise ConfigurationError(f"step {name!r}: {function!r} is not a function")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(f"step {name!r}: the function uses `yield`; it has to return an outcome instead")
    try:
        inspect.signature(function).bind(object())
    except TypeError as error:
        raise ConfigurationError(
            f"step {name!r}: the function has to take one argument, the upload: {error}"
        ) from error
    except ValueError:  # something built in, of which Python cannot tell
        return
