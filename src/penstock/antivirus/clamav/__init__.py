"""The scanner `clamav`: a clamd on this machine or another, or several that stand in for each other.

Needs: clamd (Debian: clamav-daemon), with `StreamMaxLength` and `MaxFileSize` as large as the largest file that is to
be scanned, the same figures given to us, and `AlertExceedsMax yes`. It leaves nothing behind.
"""

from __future__ import annotations

from .scanner import ClamavScanner

__all__ = ["ClamavScanner"]
