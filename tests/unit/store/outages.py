"""What tests of stores whose server goes away have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.store.base import Revision
from penstock.testing.store_contract.records import NOW, collect, record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from penstock.store.base import ProgressStore

CALLS: list[Callable[[ProgressStore], Awaitable[object]]] = [
    lambda store: store.get("u1"),
    lambda store: store.get_many(["u1"]),
    lambda store: store.save(record("u1"), expected=None),
    lambda store: store.delete("nobody", expected=Revision(1)),
    lambda store: store.due(NOW, limit=1),
    lambda store: store.next_due(),
    lambda store: collect(store.in_step("virusscan")),
    lambda store: collect(store.all()),
    lambda store: store.count_by_step(),
    lambda store: store.remember_answer("virusscan", NOW),
    lambda store: store.answered(),
]
"""Everything that a store can be asked."""


def reached(counted: dict[str, int], goal: dict[str, int]) -> bool:
    return all(number >= goal[upload] for upload, number in counted.items())
