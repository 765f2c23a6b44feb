"""Trouble on demand: delays, failures, repeats and deaths before or after any call of any port.

    faults = Faults()
    async with App(settings, wrap=faults.wrap) as app:
        faults.after("store.save", die(), number=3)

`Faults` says how calls are named, `actions` what can happen to them. Everything is deterministic: the same calls meet
the same trouble. `Faults.counts` of a run without trouble tells which calls there are to trouble.
"""

from __future__ import annotations

from .actions import Action, Killed, delay, die, fail, hold, kill_process
from .faults import Faults

__all__ = ["Action", "Faults", "Killed", "delay", "die", "fail", "hold", "kill_process"]
