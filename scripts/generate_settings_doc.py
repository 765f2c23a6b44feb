#!/usr/bin/env python3
"""Writes docs/reference/settings.md from the table of settings; with --check it only compares."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

from penstock.settings.table import table

TARGET = Path(__file__).resolve().parent.parent / "docs" / "reference" / "settings.md"
COLUMNS = "| setting | value | default | meaning | other variables |"
HEAD = """# Settings

Made from the code by `scripts/generate_settings_doc.py`.

Each setting has one name. In a TOML file (`--config FILE`, `PENSTOCK_CONFIG`, or `./penstock.toml`) it is the key; in
the environment it is `PENSTOCK_` and the name in capitals. The other variables in the last column set the same; where
several are set, the one further right counts, and our own before all. From the weakest to the strongest: default, file,
environment, command line. `penstock config` shows what is in force, and where it came from. A value that is wrong is
one line at start, and exit status 2.
"""


def page() -> str:
    """Return the page."""
    parts = [HEAD]
    for group, entries in groupby(table().values(), key=lambda entry: entry.group):
        parts.append(
            f"\n## {group}\n\n| setting | value | default | meaning | other variables |\n|---|---|---|---|---|\n"
        )
        for entry in entries:
            others = ", ".join(
                f"`{other.variable}`" + (" (deprecated)" if other.deprecated else "") for other in entry.others
            )
            default = f"`{entry.default}`" if entry.default else ""
            form = entry.kind.form.replace("|", "\\|")
            parts.append(f"| `{entry.name}` | {form} | {default} | {entry.sentence} | {others} |\n")
    return "".join(parts)


def main() -> int:
    """Write the page, or compare it."""
    if "--check" not in sys.argv:
        TARGET.write_text(page())
        return 0
    if TARGET.exists() and TARGET.read_text() == page():
        return 0
    print(f"{TARGET} is not what the code says; run scripts/generate_settings_doc.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
