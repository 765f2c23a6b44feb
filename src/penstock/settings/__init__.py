"""The settings: what there is, and what the operator chose.

`table` says what settings there are; `kinds`, `measures` and `places` how their values are written; `load` where they
come from.
"""

from __future__ import annotations

from .load import WrongSettings, load_settings
from .origins import Origin
from .places import Address
from .table import Settings

__all__ = ["Address", "Origin", "Settings", "WrongSettings", "load_settings"]
