"""The short memory in front of the store."""

from __future__ import annotations

import pytest

from penstock.core.progress import Progress, Status
from penstock.postprocessing.records import Records
from penstock.store.base import RevisionConflict
from penstock.store.memory import MemoryStore


def progress(step: str) -> Progress:
    return Progress(upload_id="u", status=Status(step))


async def test_what_was_written_last_is_remembered_and_marked_as_such() -> None:
    store = MemoryStore()
    records = Records(store)
    nothing = await records.read("u")
    assert (nothing.progress, nothing.fresh) == (None, True)
    await records.change(nothing, progress("a"))
    remembered = await records.read("u")
    assert (remembered.progress, remembered.fresh) == (progress("a"), False)
    assert (await records.read("u", fresh=True)).fresh


async def test_a_change_on_an_old_memory_fails_and_the_memory_is_dropped() -> None:
    store = MemoryStore()
    records, others = Records(store), Records(store)
    await records.change(await records.read("u"), progress("a"))
    await others.change(await others.read("u"), progress("b"))
    old = await records.read("u")
    with pytest.raises(RevisionConflict):
        await records.change(old, progress("c"))
    now = await records.read("u")
    assert (now.progress, now.fresh) == (progress("b"), True)


async def test_a_removed_record_is_not_remembered() -> None:
    records = Records(MemoryStore())
    await records.change(await records.read("u"), progress("a"))
    await records.change(await records.read("u"), None)
    assert (await records.read("u")).progress is None
