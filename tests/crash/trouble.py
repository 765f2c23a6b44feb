"""A step that is slow and fails now and then, so that kills meet every state: `penstock serve --steps` runs it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from penstock import Outcome, StepUpload, step

MARKS = Path(os.environ.get("TROUBLE_MARKS", "."))
"""One file per upload whose first attempt has failed; outlives the server."""


@step("trouble", workers=8)
def trouble(upload: StepUpload) -> Outcome:
    """Reads the file; fails every third upload once, and takes its time over every second."""
    number = int(upload.id, 16)
    mark = MARKS / upload.id
    with upload.open() as file:
        read = sum(len(piece) for piece in iter(lambda: file.read(65536), b""))
    if read != upload.size_bytes:
        raise AssertionError(f"saw {read} of {upload.size_bytes} bytes")
    if number % 2:
        time.sleep((number % 400) / 1000)
    if number % 3 == 0 and not mark.exists():
        mark.touch()
        raise RuntimeError("trouble, for once")
    return Outcome.CONTINUE
