"""The settings: what there is, and what the operator chose.

`table` says what settings there are, `kinds` how their values are written, `load` where they come from.
"""

from __future__ import annotations

from .kinds import Address
from .load import WrongSettings, load_settings
from .origins import Origin
from .table import Settings

__all__ = ["Address", "Origin", "Settings", "WrongSettings", "load_settings"]
