"""Marks a test as the proof of one requirement; docs/reference/tus.md and resumable.md list all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

Test = TypeVar("Test", bound=Callable[..., object])
Level = Literal["MUST", "SHOULD", "MAY", "TRAP"]

known: set[str] = set()


def requirement(name: str, level: Level, text: str) -> Callable[[Test], Test]:
    """Name the requirement that a test proves.

    `level` is the protocol's word. TRAP: not in its text, but servers fail there and clients suffer. `text` says it in
    our words; the script that makes the page reads it from the source, so it has to be a literal.
    """
    assert name not in known, f"requirement {name} has two tests"
    assert text.endswith("."), name
    assert level in {"MUST", "SHOULD", "MAY", "TRAP"}, name
    known.add(name)
    return lambda test: test
