"""Writes docs/reference/tus.md and resumable.md from the tests that prove them; with --check it only compares."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import NamedTuple

from scripts.generated import write_or_compare

TESTS = Path(__file__).resolve().parent.parent / "tests"
_LEVELS = """MUST, SHOULD and MAY are the protocol's words. TRAP is not in its text, but servers fail there, and clients
suffer."""
HEADS = {
    "tus": f"""# tus 1.0.0, requirement by requirement

Made from the tests in `tests/tus` by `scripts/generate_tus_doc.py`. Each requirement has one test, which
talks to a running `penstock serve` over a bare socket: no HTTP library is between them that would mend what is wrong.

{_LEVELS}
""",
    "resumable": f"""# Resumable Uploads for HTTP, requirement by requirement

The IETF's draft (draft-ietf-httpbis-resumable-upload) at interop versions 3 to 10, and as the RFC is to have it:
without a version. Made from the tests in `tests/resumable` by `scripts/generate_tus_doc.py`; they talk to a running
`penstock serve` over a bare socket, in each version where these differ.

{_LEVELS}
""",
}
"""The beginning of each page, by the folder of its tests."""


class Row(NamedTuple):
    """One requirement and its test."""

    name: str
    level: str
    text: str
    test: str


def page(suite: str) -> str:
    """Return the page of a folder of tests."""
    parts = [HEADS[suite]]
    for path in sorted((TESTS / suite).glob("test_*.py")):
        module = ast.parse(path.read_text())
        rows = [row for node in module.body for row in _rows(node, path.name)]
        title = (ast.get_docstring(module) or "").splitlines()[0].rstrip(".")
        lines = [f"| `{row.name}` | {row.level} | {row.text} | `{row.test}` |" for row in sorted(rows, key=_order)]
        parts.append(
            "\n".join(
                [f"## {title}", "", "| requirement | level | what holds | test |", "|---|---|---|---|", *lines, ""]
            )
        )
    return "\n".join(parts)


def _rows(node: ast.stmt, file: str) -> list[Row]:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return []
    found = [
        Row._make([*map(ast.literal_eval, call.args), f"{file}::{node.name}"])
        for call in node.decorator_list
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "requirement"
    ]
    if node.name.startswith("test_") and len(found) != 1:
        raise SystemExit(f"{file}::{node.name} names {len(found)} requirements; each test names one")
    return found


def _order(row: Row) -> tuple[str, int]:
    name, number = re.fullmatch(r"(.*)-(\d+)", row.name).groups()  # type: ignore[union-attr]  # an error if it is none
    return name, int(number)


if __name__ == "__main__":
    sys.exit(write_or_compare({f"{suite}.md": page(suite) for suite in HEADS}))
