"""The result of looking whether something is as it should be."""

from __future__ import annotations

import msgspec


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    name: str
    """What was looked at: a stable, short name."""
    ok: bool
    detail: str = ""
    """What was found, in a sentence."""
    hint: str = ""
    """What to do about it; empty when all is well."""
    gates: bool = False
    """Whether the service is not ready while this is not in order."""
