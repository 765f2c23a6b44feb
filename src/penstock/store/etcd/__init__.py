"""Records in etcd, under the keys and in the form of the Go services."""

from __future__ import annotations

from .store import EtcdStore

__all__ = ["EtcdStore"]
