"""Lives whose files are released into an object store, and what has to be there after the last one."""

from __future__ import annotations

import hashlib
import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.uploads.upload import Phase
from tests.servers.s3 import KEY, REGION, SECRET, S3Server

from .files import FILES
from .forks import Forks
from .inventory import check_inventory
from .life import Order, Told, points, report
from .test_faults import check_kept, check_outcomes, last_words

if TYPE_CHECKING:
    from .points import Death


@dataclass(frozen=True)
class ObjectLives:
    """The lives of a server whose store is a bucket of its own."""

    forks: Forks
    folder: Path
    s3: S3Server
    bucket: str
    staged_here: bool
    """Whether what is not released yet is in the folder, and not in the bucket as well."""

    def untroubled(self) -> Counter[str]:
        """Live all of it; return how often the first life came by each point."""
        assert self._live() == 0, last_words(self.folder)
        counted = points(self.folder)
        self._last()
        return counted

    def with_death(self, death: Death) -> None:
        """Live a life that ends too early, and the one that brings everything to its end."""
        assert self._live(death) == -signal.SIGKILL, last_words(self.folder)
        told = Told(self.folder)
        self._last()
        check_kept(told, report(self.folder))

    def _last(self) -> None:
        assert self._live(is_last=True) == 0, last_words(self.folder)
        check_outcomes(self.folder, released_here=False)
        self._check_objects()

    def _live(self, death: Death | None = None, *, is_last: bool = False) -> int:
        settings = {
            "storage": "s3",
            "storage_bucket": self.bucket,
            "storage_endpoint": self.s3.endpoint,
            "storage_region": REGION,
            "storage_access_key": KEY,
            "storage_secret_key": SECRET,
        } | ({} if self.staged_here else {"staging": "objects"})
        return self.forks.live(Order(str(self.folder), death, is_last=is_last, settings=settings))

    def _check_objects(self) -> None:
        """Every released file is an object, whole; besides, there is what is staged, and nothing else."""
        check_inventory(self.folder / "data", self.s3, self.bucket, staged_here=self.staged_here)
        fates = report(self.folder).fates
        released = [file for file in FILES.values() if file.ends is Phase.RELEASED]
        for file in released:
            key, sha256 = fates[file.name].upload_ids[0], hashlib.sha256(file.content).hexdigest()
            assert hashlib.sha256(self.s3.content(self.bucket, key) or b"").hexdigest() == sha256
            assert not self.staged_here or self.s3.metadata(self.bucket, key)["sha256"] == sha256
