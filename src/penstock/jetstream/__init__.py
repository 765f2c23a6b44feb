"""The way to a NATS server with JetStream, for the bus and for the stores that live there. Needs the extra `nats`."""

from __future__ import annotations

from .client import NatsClient
from .connection import connect
from .deadlines import Deadlines
from .servers import NatsServers, NatsUnavailable

__all__ = ["Deadlines", "NatsClient", "NatsServers", "NatsUnavailable", "connect"]
