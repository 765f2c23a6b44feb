"""Any store against a plain dictionary."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from ...core.progress import FINISHED
from ...store.base import Revision, RevisionConflict, Saved
from .records import NOW, SECOND, OpensStore, ids_of, record

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ...store.base import ProgressStore


class AgainstAModel(OpensStore):
    """Random changes, with right, old and made-up revisions."""

    @pytest.mark.parametrize("seed", range(5))
    async def test_random_changes_leave_what_a_plain_model_holds(self, seed: int) -> None:
        chance = random.Random(seed)
        model: dict[str, Saved] = {}
        async with self.open_store() as store:
            for number in range(300):
                upload = f"u{chance.randrange(12)}"
                held = model.get(upload)
                right = held.revision if held else None
                expected = chance.choice([right, right, right, None, Revision(chance.randrange(1, 10**6))])
                if chance.random() < 0.25 and expected is not None:
                    conflicts = await _conflicts(store.delete(upload, expected=expected))
                    assert conflicts == (held is not None and expected != right)
                    if not conflicts:
                        model.pop(upload, None)
                    continue
                due = chance.choice([None, chance.randrange(-50, 50) * SECOND])
                progress = record(upload, chance.choice(["a", "b", FINISHED]), due=due, failures=number)
                try:
                    revision = await store.save(progress, expected=expected)
                    assert expected == right
                    model[upload] = Saved(progress, revision)
                except RevisionConflict:
                    assert expected != right
            await self._matches(store, model)

    async def _matches(self, store: ProgressStore, model: dict[str, Saved]) -> None:
        assert {saved.progress.upload_id: saved async for saved in store.all()} == model
        assert await store.get_many(model) == model
        assert await store.count_by_step() == Counter(s.progress.status.current_step for s in model.values())
        timers = {upload: at for upload, saved in model.items() if (at := saved.progress.due_at)}
        assert await store.next_due() == min(timers.values(), default=None)
        due = ids_of(await store.due(NOW, limit=100))
        assert set(due) == {upload for upload, at in timers.items() if at <= NOW}
        assert [timers[upload] for upload in due] == sorted(timers[upload] for upload in due)


async def _conflicts(change: Awaitable[None]) -> bool:
    try:
        await change
    except RevisionConflict:
        return True
    return False
