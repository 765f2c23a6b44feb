"""What a question to the server may end in other than an answer, and how that is told."""

from __future__ import annotations

from typing import Final

from nats import errors

NATS_ERRORS: Final = (errors.Error, OSError, TimeoutError)


def told(error: BaseException) -> str:
    """Return the kind of an error, and what it says if it says anything."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
