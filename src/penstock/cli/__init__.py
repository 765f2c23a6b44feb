"""The command `penstock`: a module per group of commands; they parse, call and show."""

from __future__ import annotations

from .main import main

__all__ = ["main"]
