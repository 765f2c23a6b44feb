"""A step that never answers, for uploads that wait in it (`make bench ARGS=waiting`)."""

from __future__ import annotations

import asyncio

from penstock import Outcome, StepUpload, step


@step("ocr", workers=2)
async def wait(upload: StepUpload) -> Outcome:
    """Wait for as long as the server runs."""
    del upload
    await asyncio.Event().wait()
    return Outcome.CONTINUE
