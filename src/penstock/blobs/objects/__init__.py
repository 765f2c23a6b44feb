"""Released bytes as objects of S3, Azure Blob Storage or Google Cloud Storage, by the one library for all three."""

from __future__ import annotations

from .services import AzurePlace, GcsPlace, S3Place

__all__ = ["AzurePlace", "GcsPlace", "S3Place"]
