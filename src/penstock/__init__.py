"""Penstock: receives files, holds each one back until it is checked and processed, then lets people at it."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0.dev0"
