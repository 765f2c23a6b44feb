"""Bytes in a folder of this machine, or of a volume that it shares with others."""

from __future__ import annotations

from .store import LocalBlobs

__all__ = ["LocalBlobs"]
