"""The captured messages of the Go services, as the wire tests read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "data" / "wire"


def capture(name: str) -> dict[str, Any]:
    """One file, by its name without suffix."""
    content: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return content


NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
"""All captures."""

MESSAGES = [(name, message) for name in NAMES for message in capture(name).get("messages", [])]
"""All captured messages, with the name of their capture."""
