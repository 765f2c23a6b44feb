from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from penstock.events.types import EVENT_TYPES

ROOT = Path(__file__).parents[3]


def test_the_reference_is_what_the_types_say() -> None:
    script = ROOT / "scripts" / "generate_events_doc.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", sorted(EVENT_TYPES))
def test_every_event_is_described(name: str) -> None:
    assert f"\n### {name}\n" in (ROOT / "docs" / "reference" / "events.md").read_text()
