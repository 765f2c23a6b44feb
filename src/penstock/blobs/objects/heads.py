"""Reads and changes the heads of staged uploads, from one revision to the next: two writers can never both succeed."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from ...ids import is_upload_id
from ..base import BlobMissing, BlobUnavailable
from .bucket import Bucket, Changed
from .head import BadHead, Head, decode, encode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from obstore import PutMode, UpdateVersion

_TRIES: Final = 3
"""A service that says that it has written something is asked; if it has not, it is told again."""


class DamagedHead(BlobUnavailable):
    """A head is not what was written: only of its upload nobody knows what is staged."""


class Superseded(Exception):
    """Somebody else has changed the upload since it was read: nothing was written."""

    def __init__(self, head: Head) -> None:
        super().__init__(head.length_bytes)
        self.head = head
        """What is staged of it now. It may name what whoever hears of this has written: somebody has read, and written
        anew, a head whose arrival was not confirmed yet."""


class Saved(NamedTuple):
    """A head, as it is in the bucket."""

    head: Head
    revision: UpdateVersion


def key_of(upload_id: str) -> str:
    """Return the name of an upload's head.

    Raises:
        BlobMissing: it is none of ours: no upload has such an ID.
    """
    if not is_upload_id(upload_id):
        raise BlobMissing(f"{upload_id[:100]!r} is not an upload ID, so no bytes are kept under it")
    return f"{upload_id}/head"


def new_mark() -> str:
    """Return a name that nobody has used before."""
    return secrets.token_hex(8)


class Heads:
    """The heads in a bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self.fenced = True
        """Whether the service writes an object only if it is as it was (`find_out`)."""

    async def find_out(self, key: str) -> bool:
        """Find out whether the service writes an object only if it is as it was; return it. Leaves nothing behind.

        Raises:
            BlobUnavailable: it cannot be written or removed.
        """
        self.fenced = await self._refuses(key)
        await self._bucket.remove("", [key])
        return self.fenced

    async def create(self, upload_id: str) -> None:
        """Begin an upload of no bytes; do nothing when there is one."""
        head = Head(new_mark())
        if not self.fenced:
            try:
                await self.read(upload_id)
            except BlobMissing:
                await self._bucket.put(upload_id, key_of(upload_id), encode(head))
            return
        try:
            await self._bucket.put(upload_id, key_of(upload_id), encode(head), mode="create")
        except Changed:
            return

    async def read(self, upload_id: str) -> Saved:
        """Return what is staged of an upload.

        Raises:
            BlobMissing: nothing is.
            BlobUnavailable: it cannot be read.
            DamagedHead: it says nothing.
        """
        found = await self._bucket.get(upload_id, key_of(upload_id))
        try:
            return Saved(decode(found.content), found.revision)
        except BadHead as error:
            raise DamagedHead(
                f"{self._bucket.name} holds something else than was written for upload {upload_id}: {error}. "
                "Nothing of it was changed."
            ) from None

    async def save(self, upload_id: str, before: Saved, head: Head) -> Saved:
        """Replace `before`, as it was read, by another head. When this returns, it is there, and was read back.

        Raises:
            Superseded: there is another one than `before` by now.
            BlobMissing: there is none any more.
            BlobUnavailable: it may be there, or not.
        """
        body = encode(head)
        if not self.fenced:
            self._check(before, await self.read(upload_id))  # all that can be done here: one gateway at a time
        for _ in range(_TRIES):
            try:
                mode: PutMode = before.revision if self.fenced else "overwrite"
                await self._bucket.put(upload_id, key_of(upload_id), body, mode=mode)
            except Changed:
                pass  # by us, maybe: the answer to an earlier attempt may have been lost
            found = await self.read(upload_id)
            if found.head.mark == head.mark:
                return found
            before = self._check(before, found)
        raise BlobUnavailable(
            f"{self._bucket.name} says that it has written what was sent for upload {upload_id}, but has not."
        )

    async def renew(self, upload_id: str, confirm: Callable[[], Awaitable[None]] | None = None) -> Saved:
        """Write the head anew as it is, so that whoever has read it before changes nothing any more.

        Args:
            upload_id: the upload.
            confirm: called when the head was read, and before it is written. What it raises is raised here.

        Raises:
            BlobMissing: nothing is staged.
            BlobUnavailable: it may have been done, or not.
        """
        for _ in range(_TRIES):
            found = await self.read(upload_id)
            if confirm is not None:
                await confirm()
            try:
                return await self.save(upload_id, found, found.head._replace(mark=new_mark()))
            except Superseded:
                continue
        raise BlobUnavailable(f"upload {upload_id}: somebody else writes to it all the time. Ask for the offset again.")

    def _check(self, before: Saved, found: Saved) -> Saved:
        if found.head.mark != before.head.mark:
            raise Superseded(found.head)
        return found

    async def _refuses(self, key: str) -> bool:
        first = await self._bucket.put("", key, b"first", mode="overwrite")
        try:
            await self._bucket.put("", key, b"second", mode="create")
        except Changed:
            pass
        else:
            return False
        try:
            await self._bucket.put("", key, b"third", mode=first)
            await self._bucket.put("", key, b"fourth", mode=first)
        except Changed:
            return True
        return False
