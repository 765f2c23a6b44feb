"""What every blob store must do. Subclass `BlobContract` in a test module, and give it a store.

The suite also looks at the bytes behind the store's back, so that a store cannot vouch for itself.
"""

from __future__ import annotations

from .contract import BlobContract

__all__ = ["BlobContract"]
