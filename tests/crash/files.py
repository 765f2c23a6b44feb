"""The files that are uploaded: one of each kind of life that an upload can have, and what is to become of it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from penstock.antivirus.eicar import eicar
from penstock.uploads.upload import Phase

PIECE_BYTES = 8 * 1024
UNWANTED = "nobody wants this"
"""Why the step of the tests rejects the file `unwanted`."""


@dataclass(frozen=True)
class File:
    """What is uploaded, and how."""

    name: str
    content: bytes = field(repr=False)
    ends: Phase = Phase.RELEASED
    reason: str = ""
    """Why it is not released, as people are told."""
    announced: bool = True
    """Whether the client says at the beginning how long the file is."""

    @property
    def half(self) -> int:
        return len(self.content) // 2

    @property
    def has_virus(self) -> bool:
        return self.ends is Phase.DELETED


def _files() -> dict[str, File]:
    content = random.Random("one of each kind").randbytes(5 * PIECE_BYTES)
    infected = content[:1000] + eicar() + content[1000:]
    files = [
        File("waiting", content[::-1]),
        File("clean", content),
        File("infected", infected, Phase.DELETED, reason="infected: EICAR_Test_File"),
        File("empty", b""),
        File("halves", content[1:]),
        File("retried", content[2:]),
        File("unannounced", content[3:], announced=False),
        File("unwanted", content[4:], Phase.REJECTED, reason=UNWANTED),
        File("withdrawn", content[5:], Phase.CANCELLED),
    ]
    return {file.name: file for file in files}


FILES = _files()
