"""Sending files to a server so that no interruption loses anything, and waiting for what becomes of them."""

from __future__ import annotations
