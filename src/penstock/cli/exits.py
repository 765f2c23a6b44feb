"""The exit statuses of the command `penstock`."""

from __future__ import annotations

from enum import IntEnum
from typing import Self


class Status(IntEnum):
    """What a program that calls us can tell without reading what we print."""

    meaning: str
    """What it says, in a sentence."""

    def __new__(cls, value: int, meaning: str) -> Self:
        """Make a number that knows its meaning."""
        status = int.__new__(cls, value)
        status._value_ = value
        status.meaning = meaning
        return status

    DONE = 0, "What was asked for is done, and all is well."
    NOT_WELL = 1, "It was done, and the answer is no: infected, rejected, something wrong, a question answered with no."
    ERROR = 2, "It could not be done: a wrong argument or setting, no server, a file that cannot be read."
    NOTHING_MATCHED = 3, "There was nothing to act on."
    PARTLY_FAILED = 4, "Some uploads were acted on, some were not; a row for each says which and why."
    INTERRUPTED = 130, "Ended by Ctrl-C."
