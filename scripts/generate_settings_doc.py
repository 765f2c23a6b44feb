"""Writes docs/reference/settings.md from the table of settings; with --check it only compares."""

from __future__ import annotations

import sys
from itertools import groupby
from typing import TYPE_CHECKING

from penstock.settings.go_names import SETS_NOTHING
from penstock.settings.services import Service
from penstock.settings.table import table
from scripts.generated import write_or_compare

if TYPE_CHECKING:
    from penstock.settings.entries import Entry, OtherName
    from penstock.settings.go_names import SetsNothing

HEAD = """\
# Settings

<!-- Made by scripts/generate_settings_doc.py from src/penstock/settings/table.py. Change it there. -->

Each setting has one name. In a TOML file it is the key; in the environment it is `PENSTOCK_` and the name in capitals,
such as `PENSTOCK_DATA_DIR`; on the command line of `penstock serve`, some have an option.

**Which one counts.** From the weakest to the strongest: the default, the file, the environment, the command line. The
file is the one that `--config` names, else `PENSTOCK_CONFIG`, else `penstock.toml` where you are. In the environment,
the variables of oCIS and OpenCloud in the last column set the same; where several are set, the lowest one counts, and
our own name before all. `penstock config` shows what is in force, and where it came from.

**What they are for.** `penstock serve` runs everything in one process. A single service (`penstock postprocessing …`,
`penstock antivirus …`, `penstock step …`) has the settings that concern it, some with a default of its own, such as the
one of the Go service that it replaces; `penstock config --service NAME` shows them. The file may be the same for all: a
table `[postprocessing]`, `[antivirus]`, `[step]` or `[serve]` holds what is for that one alone. In the environment,
`POSTPROCESSING_…` counts for postprocessing, `ANTIVIRUS_…` for the scanner, `STORAGE_USERS_…` for neither; all of them
do for `penstock serve`.

**What is wrong** is one line each at start, with exit status 2, and nothing is started. That includes names that begin
with `PENSTOCK_` and keys of the file that do not exist. A value that the Go services would silently ignore, such as
a duration without a unit, is wrong here.

**The files of the Go services.** Where `OC_CONFIG_DIR` or `OCIS_CONFIG_DIR` names a folder, its `postprocessing.yaml`
and `antivirus.yaml` are read by the service of that name, in the structure that the Go service gives them. They are
weaker than the TOML file. Keys that are not known are told at start.

**How to write values**

| kind | how |
|---|---|
| duration | a number with a unit, as in Go: `90s`, `1h30m`, `250ms`; days are hours: `168h` |
| size | bytes, or a number with `KB MB GB TB PB EB` (powers of 1000) or `KiB MiB GiB TiB PiB EiB` (powers of 1024) |
| list | words with commas; in the file an array, too |
| address | `host:port`; where to connect to, also with `scheme://` before it; a password in it is never shown |
| path | relative ones start where you are, those in the file at the file; `~` is your home |
| empty | an empty list or text where that makes sense, otherwise the same as not set in the environment |
"""
NOTHING = """\
## Variables that set nothing

They are known, so nobody is told that they are misspelt.
"""


def page() -> str:
    """Return the page."""
    parts = [HEAD]
    heads = "| setting | value | default | for | meaning | other variables |\n|---|---|---|---|---|---|\n"
    for group, entries in groupby(table().values(), key=lambda entry: entry.group):
        parts.append(f"\n## {group}\n\n{heads}")
        parts += map(_row, entries)
    deprecated = [other for entry in table().values() for other in entry.others if other.deprecated]
    parts.append("\n## Deprecated\n\nThese still work, with a warning.\n\n| variable | instead |\n|---|---|\n")
    parts += [f"| `{other.variable}` | {other.instead} |\n" for other in deprecated]
    parts.append(f"\n{NOTHING}\n| variable | what is so instead | told at start |\n|---|---|---|\n")
    parts += map(_nothing, SETS_NOTHING)
    return "".join(parts)


def _nothing(one: SetsNothing) -> str:
    names = "<br>".join(f"`{name}`" for name in one.variables)
    return f"| {names} | It {one.why} | {'yes' if one.told else 'no'} |\n"


def _row(entry: Entry) -> str:
    others = "<br>".join(map(_other, entry.others))
    form = _escaped(entry.kind.form)
    return f"| `{entry.name}` | {form} | {_default(entry)} | {_services(entry)} | {entry.sentence} | {others} |\n"


def _default(entry: Entry) -> str:
    first = entry.services[0]
    others = {service: text for service, text in entry.defaults.items() if text != entry.default_for(first)}
    return "<br>".join(
        [_written(entry.default_for(first)), *(f"{service}: {_written(text)}" for service, text in others.items())]
    )


def _written(default: str) -> str:
    return f"`{default}`" if default else "empty"


def _services(entry: Entry) -> str:
    return "all" if entry.services == tuple(Service) else ", ".join(entry.services)


def _other(other: OtherName) -> str:
    remarks = ["deprecated"] if other.deprecated else [other.kind.form] if other.kind is not None else []
    if other.when is not None:
        remarks.append("unless the caches are in another kind of store")
    return f"`{other.variable}`" + (f" ({'; '.join(remarks)})" if remarks else "")


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(write_or_compare({"settings.md": page()}))
