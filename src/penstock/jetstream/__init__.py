"""The way to a NATS server with JetStream, for the bus and for the stores that live there. Needs the extra `nats`."""

from __future__ import annotations

from .client import NatsClient
from .connection import connect
from .servers import NatsServers, NatsUnavailable

__all__ = ["NatsClient", "NatsServers", "NatsUnavailable", "connect"]
