from __future__ import annotations

from datetime import UTC, datetime

import pytest

from penstock.core.progress import Progress, Status
from penstock.postprocessing.inherited import Inherited, count_inherited, is_inherited
from penstock.store.memory import MemoryStore

STEPS = ("virusscan", "delay", "ocr")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def by_go(step: str, outcome: str = "", *, steps: tuple[str, ...] = STEPS, finished: bool = False) -> Progress:
    return Progress(upload_id="u", steps=steps, status=Status(step, outcome), finished=finished)


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (by_go("virusscan"), Inherited(1, 1, 0, 0)),
        (by_go("virusscan", "retry"), Inherited(1, 1, 1, 0)),
        (by_go("delay"), Inherited(1, 1, 0, 1)),
        (by_go("ocr"), Inherited(1, 1, 0, 1)),
        (by_go("ocr", "retry"), Inherited(1, 1, 1, 1)),
        (by_go("finished", "continue"), Inherited(1, 1, 0, 0)),
        (by_go("finished", "continue", steps=("virusscan", "delay")), Inherited(1, 1, 0, 1)),
        (by_go("a step that is not in the list"), Inherited(1, 1, 0, 0)),
        (by_go("finished", "abort", finished=True), Inherited(1, 0, 0, 0)),
    ],
)
async def test_what_was_in_the_memory_of_a_go_instance(progress: Progress, expected: Inherited) -> None:
    store = MemoryStore()
    await store.save(progress, expected=None)
    assert await count_inherited(store.all()) == expected


def test_what_we_wrote_last_is_ours() -> None:
    ours = Progress(upload_id="u", steps=STEPS, status=Status("virusscan", "retry"), updated_at=NOW)
    assert not is_inherited(ours)
