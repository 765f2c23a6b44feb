"""The command `penstock`: a module per group of commands; they parse, call and show."""

from __future__ import annotations

import sys
from gc import set_threshold
from typing import Final

from .. import __version__

__all__ = ["main"]

_NEW_OBJECTS: Final = 50_000


def main() -> None:
    """Run the command that the arguments name, and exit with its status."""
    if sys.argv[1:] == ["--version"]:  # not worth loading anything for
        sys.stdout.write(f"penstock {__version__}\n")
        return
    # Nearly all that is made while modules load stays: to look through it for garbage takes a tenth of a start.
    set_threshold(_NEW_OBJECTS)
    _leave_out()
    from .main import run

    run()


def _leave_out() -> None:
    """Have libraries do without what they would load for purposes that are none of ours: None stands for no module.

    httpx has a command of its own; structlog can colour tracebacks, which ours are not to be (`logs.configure`).
    """
    hidden = [name for name in ("httpx._main", "rich") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    import structlog  # noqa: F401  it looks for what there is now

    if "rich" in hidden:
        del sys.modules["rich"]
