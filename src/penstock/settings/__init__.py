"""The settings: what there is, and what the operator chose.

`table` says what settings there are, `groups` has their lines; `kinds`, `measures` and `places` how their values are
written; `services` what they are for; `load` where they come from.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .load import WrongSettings, load_settings
    from .origins import Origin
    from .places import Address
    from .services import Service
    from .table import Settings

__all__ = ["Address", "Origin", "Service", "Settings", "WrongSettings", "load_settings"]

_MODULES: Final = {
    "Address": "places",
    "Origin": "origins",
    "Service": "services",
    "Settings": "table",
    "WrongSettings": "load",
    "load_settings": "load",
}


def __getattr__(name: str) -> object:
    """Import what is asked for: whoever only names a service need not load the whole table."""
    if name in _MODULES:
        return getattr(import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
