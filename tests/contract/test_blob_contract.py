"""The blob stores, by the suite that every one of them has to pass."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from penstock.blobs.base import BlobMissing
from penstock.blobs.local import LocalBlobs
from penstock.testing.blob_contract import BlobContract

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from penstock.blobs.base import BlobStore


class TestLocalBlobs(BlobContract):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.root = tmp_path / "blobs"

    def open(self) -> AbstractAsyncContextManager[BlobStore]:
        return LocalBlobs(self.root)

    def peek(self, upload_id: str) -> bytes | None:
        found = [path for path in self.root.rglob("*") if path.name == upload_id]
        assert len(found) <= 1
        return found[0].read_bytes() if found else None


class TestLocalBlobsThatOthersShare(TestLocalBlobs):
    def open(self) -> AbstractAsyncContextManager[BlobStore]:
        return LocalBlobs(self.root, fenced=True)

    def peek(self, upload_id: str) -> bytes | None:
        try:
            return LocalBlobs(self.root, fenced=True).path(upload_id).read_bytes()
        except BlobMissing:
            return None
