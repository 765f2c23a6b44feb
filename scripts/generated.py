"""What each script does that makes pages of the documentation from the code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

REFERENCE: Final = Path(__file__).resolve().parent.parent / "docs" / "reference"


def write_or_compare(pages: Mapping[str, str]) -> int:
    """Write pages of the reference, by their names; with `--check`, return 1 when one is not what is there."""
    status = 0
    for name, page in pages.items():
        target = REFERENCE / name
        if "--check" not in sys.argv:
            target.write_text(page)
        elif not target.exists() or target.read_text() != page:
            print(f"{target} is not what the code says; run `make format`", file=sys.stderr)
            status = 1
    return status
