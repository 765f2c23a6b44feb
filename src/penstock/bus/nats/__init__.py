"""The bus of oCIS and OpenCloud: the stream `main-queue` of a NATS server with JetStream. See `NatsBus`."""

from __future__ import annotations

from .bus import NatsBus
from .set_aside import SetAside, SetAsideEvent

__all__ = ["NatsBus", "SetAside", "SetAsideEvent"]
