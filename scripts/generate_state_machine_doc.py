"""Writes docs/reference/state-machine.md from the transition table; with --check it only compares."""

from __future__ import annotations

import sys
from collections import defaultdict

from penstock.core.machine import TABLE
from penstock.core.progress import State
from penstock.core.transition import Kind
from scripts.generated import write_or_compare

HEAD = """# The state machine of postprocessing

Made from `core/machine.TABLE` by `scripts/generate_state_machine_doc.py`. A state is derived from the saved record, an
input is an event from the bus, a timer, or the request to say again what is awaited. A pair that is not in the table
changes nothing.

`none` means that there is no record: not yet, or not any more.
"""


def page() -> str:
    """Return the page."""
    return f"{HEAD}\n{_diagram()}\n{_table()}"


def _diagram() -> str:
    labels: defaultdict[tuple[State, State], list[str]] = defaultdict(list)
    for (state, kind), (_, targets) in TABLE.items():
        for target in targets:
            if state is not target:
                labels[state, target].append(kind.value)
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> none"]
    for (state, target), kinds in labels.items():
        label = ", ".join(kind.replace(": ", " ") for kind in kinds)
        lines.append(f"    {state.value} --> {target.value}: {label}")
    return "\n".join([*lines, "```", ""])


def _table() -> str:
    states = list(State)
    rows = [f"| input | {' | '.join(f'in {state.value}' for state in states)} |", f"|---|{'---|' * len(states)}"]
    for kind in Kind:
        cells = []
        for state in states:
            entry = TABLE.get((state, kind))
            cells.append("" if entry is None else f"{entry[0].__name__} → {', '.join(one.value for one in entry[1])}")
        rows.append(f"| {kind.value} | {' | '.join(cells)} |")
    return "\n".join([*rows, ""])


if __name__ == "__main__":
    sys.exit(write_or_compare({"state-machine.md": page()}))
