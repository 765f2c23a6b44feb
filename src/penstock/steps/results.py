"""Checks what a step's function returned, and brings it into the form in which it travels."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..errors import PenstockError
from ..events.gojson import dumps
from ..events.types import Outcome, VirusscanResult
from .kit import RESULT_LIMIT_BYTES, StepResult

if TYPE_CHECKING:
    from .call import Ended

_MESSAGE_CHARACTERS: Final = 2000
"""Longer messages are cut: they are stored with the upload's progress."""


class StepFailed(PenstockError):
    """The attempt has failed, with the reason as the message: it counts as a retry."""

    code = "step-failed"
    retryable = True


def checked(ended: Ended) -> tuple[str, Any, int]:
    """Return outcome, result and the size of the result as JSON, of a call that went well.

    Raises:
        StepFailed: it did not: the function raised, or returned something that is no answer.
    """
    if ended.error is not None:
        raise StepFailed(reason_of(ended.error)) from ended.error
    answer = ended.returned
    if isinstance(answer, Outcome):
        answer = StepResult(answer)
    if not isinstance(answer, StepResult) or not isinstance(answer.outcome, Outcome):
        raise StepFailed(_not_an_answer(ended.returned))
    if isinstance(answer.result, VirusscanResult):
        return answer.outcome, answer.result, len(dumps(answer.result))
    result, size_bytes = _plain(_with_message(answer))
    return answer.outcome, result, size_bytes


def reason_of(error: BaseException) -> str:
    """Return what an exception says, for uploaders: ours speak for themselves, others need their name in front."""
    if isinstance(error, PenstockError):
        return sayable(error.told or str(error))
    if isinstance(error, asyncio.CancelledError):
        return "the step cancelled itself"
    return sayable(f"{type(error).__name__}: {error}".removesuffix(": "))


def sayable(message: str) -> str:
    """Return `message` cut to a bearable length, without what cannot be encoded."""
    return message[:_MESSAGE_CHARACTERS].encode("utf-8", "replace").decode()


def _not_an_answer(returned: object) -> str:
    shown = sayable(repr(returned)[:80])
    hint = "" if not isinstance(returned, str) else " (a text is not an Outcome)"
    return (
        f"the step returned {shown}{hint}. It has to return penstock.Outcome.CONTINUE, RETRY, ABORT or DELETE, "
        "or a penstock.StepResult with one of them."
    )


def _with_message(answer: StepResult) -> dict[str, Any] | None:
    result: object = answer.result
    if result is not None and not isinstance(result, dict):
        raise StepFailed(f"the step's result is a {type(result).__name__}; it has to be a dict, or None")
    if not answer.message:
        return result
    key = "message" if answer.outcome is Outcome.CONTINUE else "error"
    return {**(result or {}), key: sayable(answer.message)}


def _plain(result: dict[str, Any] | None) -> tuple[Any, int]:
    """Return a copy of plain JSON values that the function cannot change any more, with its size."""
    if result is None:
        return None, 0
    try:
        encoded = dumps(result)
    except (TypeError, ValueError, RecursionError) as error:
        raise StepFailed(sayable(f"the step's result cannot be written as JSON: {error}")) from error
    if len(encoded) > RESULT_LIMIT_BYTES:
        raise StepFailed(
            f"the step's result takes {len(encoded)} bytes as JSON, but at most {RESULT_LIMIT_BYTES} can travel in an "
            "event. Put it somewhere, and return where."
        )
    return msgspec.json.decode(encoded), len(encoded)
