from __future__ import annotations

from pathlib import Path

import pytest

from penstock.events.types import EVENT_TYPES

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", sorted(EVENT_TYPES))
def test_every_event_is_described(name: str) -> None:
    assert f"\n### {name}\n" in (ROOT / "docs" / "reference" / "events.md").read_text()
