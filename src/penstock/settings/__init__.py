"""The settings: what there is, and what the operator chose.

`table` says what settings there are, `groups` has their lines; `kinds`, `measures` and `places` how their values are
written; `services` what they are for; `load` where they come from.
"""

from __future__ import annotations

from .load import WrongSettings, load_settings
from .origins import Origin
from .places import Address
from .services import Service
from .table import Settings

__all__ = ["Address", "Origin", "Service", "Settings", "WrongSettings", "load_settings"]
