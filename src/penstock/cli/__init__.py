"""The command `penstock`: a module per group of commands; they parse, call and show."""

from __future__ import annotations

import sys

from .. import __version__

__all__ = ["main"]


def main() -> None:
    """Run the command that the arguments name, and exit with its status."""
    if sys.argv[1:] == ["--version"]:  # not worth loading anything for
        sys.stdout.write(f"penstock {__version__}\n")
        return
    from .main import run

    run()
