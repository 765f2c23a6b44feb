"""The bus of oCIS and OpenCloud: the stream `main-queue` of a NATS server with JetStream. See `NatsBus`."""

from __future__ import annotations

from ..aside import SetAsideEvent
from .bus import NatsBus
from .handling import Tolerance
from .set_aside import SetAside

__all__ = ["NatsBus", "SetAside", "SetAsideEvent", "Tolerance"]
