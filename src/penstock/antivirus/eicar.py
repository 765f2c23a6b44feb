"""The EICAR test file: 68 harmless bytes that every virus scanner reports.

The string is never written out in this repository, nor in what Python makes of it, so that no scanner takes our own
files for an infection. Source: https://www.eicar.org/download-anti-malware-testfile/
"""

from __future__ import annotations

_HALVES = (
    "58354f2150254041505b345c505a58353428505e2937434329377d24",
    "45494341522d5354414e444152442d414e544956495255532d544553542d46494c452124482b482a",
)


def eicar() -> bytes:
    """Return the 68 bytes of the EICAR test file, without the optional line end."""
    return b"".join(bytes.fromhex(half) for half in _HALVES)
