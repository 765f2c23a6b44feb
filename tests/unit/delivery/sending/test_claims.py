"""Addresses end with the attempt that they were made for, whatever ends it: by the rules, and by the record alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from penstock.core.emit import awaited_id
from penstock.core.machine import decide
from penstock.core.policy import Policy
from penstock.core.progress import Progress
from penstock.core.transition import Input, Tick
from penstock.delivery.sending.claims import Claims, StepOver, WrongToken
from penstock.delivery.sending.tokens import Tokens
from penstock.events.types import (
    BytesReceived,
    CancelPostprocessing,
    Envelope,
    Event,
    Outcome,
    PostprocessingStepFinished,
    ResumePostprocessing,
)
from penstock.store.memory import MemoryStore

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=2)
UPLOAD = "a" * 32
POLICY = Policy.create(["ocr", "second"], max_retries=3, step_timeouts={"ocr": timedelta(minutes=5)})
TOKENS = Tokens(b"k" * 32)


def said(event: Event) -> Envelope:
    return Envelope(event=event, event_id=f"{type(event).__name__}-1")


def finished(outcome: str) -> Envelope:
    return said(PostprocessingStepFinished(upload_id=UPLOAD, finished_step="ocr", outcome=outcome))


def after(progress: Progress | None, *inputs: Input, now: datetime = NOW) -> Progress | None:
    for one in inputs:
        progress = decide(progress, one, now, POLICY).progress
    return progress


async def checked(progress: Progress | None, start_id: str) -> str:
    """Return the step that a token for this start lets in, when the record is `progress`."""
    async with MemoryStore() as store:
        if progress is not None:
            await store.save(progress, expected=None)
        claim = await Claims(TOKENS, store).check(UPLOAD, start_id, TOKENS.mint(UPLOAD, start_id))
        return claim.step


def begun() -> Progress:
    progress = after(None, said(BytesReceived(upload_id=UPLOAD, filename="f", filesize=3, url="file:///f")))
    assert progress is not None
    return progress


ENDS: dict[str, tuple[Input, ...]] = {
    "done": (finished(Outcome.CONTINUE),),
    "aborted": (finished(Outcome.ABORT),),
    "deleted": (finished(Outcome.DELETE),),
    "of an outcome that nobody knows": (finished("odd"),),
    "waiting for another try": (finished(Outcome.RETRY),),
    "cancelled": (said(CancelPostprocessing(upload_id=UPLOAD)),),
}


@pytest.mark.parametrize("end", ENDS)
async def test_an_address_dies_with_its_step(end: str) -> None:
    before = begun()
    start_id = awaited_id(before)
    assert await checked(before, start_id) == "ocr"
    with pytest.raises(StepOver):
        await checked(after(before, *ENDS[end]), start_id)


@pytest.mark.parametrize(
    ("inputs", "now"),
    [
        ((finished(Outcome.RETRY), Tick()), LATER),
        ((Tick(), Tick()), LATER),
        ((finished(Outcome.RETRY), said(ResumePostprocessing(upload_id=UPLOAD))), NOW),
    ],
    ids=["retried", "timed out", "resumed"],
)
async def test_another_attempt_has_another_address(inputs: tuple[Input, ...], now: datetime) -> None:
    before = begun()
    first = awaited_id(before)
    second = before
    for one in inputs:
        changed = after(second, one, now=now)
        assert changed is not None
        second = changed
        now += timedelta(days=2)
    new = awaited_id(second)
    assert TOKENS.mint(UPLOAD, new) != TOKENS.mint(UPLOAD, first)
    assert await checked(second, new) == "ocr"
    with pytest.raises(StepOver):
        await checked(second, first)


async def test_an_upload_that_is_gone_has_no_address() -> None:
    with pytest.raises(StepOver):
        await checked(None, awaited_id(begun()))


async def test_a_token_is_for_one_upload_and_start() -> None:
    progress = begun()
    async with MemoryStore() as store:
        await store.save(progress, expected=None)
        claims, start_id = Claims(TOKENS, store), awaited_id(progress)
        other = Tokens(b"x" * 32).mint(UPLOAD, start_id)
        for token in ("", other, TOKENS.mint("b" * 32, start_id), TOKENS.mint(UPLOAD, "another")):
            with pytest.raises(WrongToken):
                await claims.check(UPLOAD, start_id, token)
