"""What staging asks of an object store, in its words: each answer comes in time, and each error is one of ours."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError

from ..base import BlobMissing
from .inventory import folders
from .trouble import trouble_about

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from datetime import datetime

    from obstore import PutMode, UpdateVersion
    from obstore.store import ObjectStore

    from ..inventory import Found as Listed

PIECE_BYTES: Final = 256 * 1024
"""The least that is handed on at once while reading."""
LARGEST_PIECE_BYTES: Final = 1024 * 1024
STALL_SECONDS: Final = 30.0
"""How long an answer may take to begin, or to go on."""
LIST_SECONDS: Final = 300.0
"""How long a list of everything may take: it comes in pages of a thousand."""
_REMOVED_AT_ONCE: Final = 8


class Changed(Exception):
    """The object is not what it was to be: somebody else has written it, or made it."""


class Found(NamedTuple):
    """An object's content, and what tells it from any other content of the same name."""

    content: bytes
    revision: UpdateVersion
    sha256: str
    """What its writer has noted; empty: nothing."""


class Bucket:
    """The objects below a prefix."""

    def __init__(self, writing: ObjectStore, reading: ObjectStore, *, name: str, prefix: str) -> None:
        """Work on the same bucket through two clients; `prefix` is empty, or ends with a slash."""
        self.name = name
        self._writing = writing
        self._reading = reading
        self._prefix = prefix

    async def put(
        self, about: str, key: str, body: bytes, *, sha256: str = "", mode: PutMode = "overwrite"
    ) -> UpdateVersion:
        """Write an object in one request; `about` is the upload that it belongs to.

        Raises:
            Changed: there is another object than `mode` says.
            BlobMissing: there is none, and `mode` says which one there was.
            BlobUnavailable: it may be there, or not.
        """
        attributes: Any = {"Content-Type": "application/octet-stream", **({"sha256": sha256} if sha256 else {})}
        with trouble_about(about, self.name):
            try:
                written = await obstore.put_async(
                    self._writing, self._prefix + key, body, attributes=attributes, mode=mode, use_multipart=False
                )
            except (AlreadyExistsError, PreconditionError):
                raise Changed from None
        return _revision(written["e_tag"], written["version"])

    async def get(self, about: str, key: str) -> Found:
        """Return an object.

        Raises:
            BlobMissing: there is none.
            BlobUnavailable: it cannot be read.
        """
        with trouble_about(about, self.name):
            async with asyncio.timeout(STALL_SECONDS):
                answer = await obstore.get_async(self._reading, self._prefix + key)
                content = bytes(await answer.bytes_async())
        meta, noted = answer.meta, dict(answer.attributes)
        return Found(content, _revision(meta["e_tag"], meta["version"]), str(noted.get("sha256", "")))

    async def size(self, about: str, key: str) -> int | None:
        """Return the size of an object; None: there is none.

        Raises:
            BlobUnavailable: nobody knows.
        """
        try:
            with trouble_about(about, self.name):
                async with asyncio.timeout(STALL_SECONDS):
                    return (await obstore.head_async(self._writing, self._prefix + key))["size"]
        except BlobMissing:
            return None

    async def stream(self, about: str, key: str, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """Yield a part of an object.

        Raises:
            BlobMissing: there is none.
            BlobUnavailable: it cannot be read to the end.
        """
        with trouble_about(about, self.name):
            async for piece in streamed(self._reading, self._prefix + key, {"range": (start, stop)}):
                yield piece

    def name_of(self, key: str) -> str:
        """Return what the service knows an object by."""
        return self._prefix + key

    async def copy(self, about: str, source: str, target: str) -> None:
        """Have the service copy an object.

        Raises:
            BlobMissing: there is none.
            BlobUnavailable: the copy may be there, or not.
        """
        with trouble_about(about, self.name):
            await obstore.copy_async(self._writing, self._prefix + source, self._prefix + target)

    async def remove(self, about: str, keys: Sequence[str]) -> None:
        """Remove objects, whether they are there or not; one that cannot be removed holds up no other.

        Raises:
            BlobUnavailable: some may still be there.
        """
        failures = list[BaseException]()
        for start in range(0, len(keys), _REMOVED_AT_ONCE):
            now = keys[start : start + _REMOVED_AT_ONCE]
            ended = await asyncio.gather(*(self._remove(about, key) for key in now), return_exceptions=True)
            failures += [error for error in ended if error is not None]
            if len(failures) >= _REMOVED_AT_ONCE:
                break  # it is away
        if failures:
            raise failures[0]

    async def keys(self, about: str, folder: str) -> list[str]:
        """Return what lies in a folder, for `remove`.

        Raises:
            BlobUnavailable: nobody knows.
        """
        found = list[str]()
        with trouble_about(about, self.name):
            async with asyncio.timeout(LIST_SECONDS):
                async for page in obstore.list(self._writing, self._prefix + folder):
                    found += [one["path"].removeprefix(self._prefix) for one in page]
        return found

    async def folders(self) -> list[str]:
        """Return the names of all folders.

        Raises:
            BlobUnavailable: nobody knows.
        """
        with trouble_about(None, self.name):
            async with asyncio.timeout(LIST_SECONDS):
                found = await obstore.list_with_delimiter_async(self._writing, self._prefix.rstrip("/"))
        return [path.rstrip("/").rpartition("/")[2] for path in found["common_prefixes"]]

    async def inventory(self) -> AsyncGenerator[Sequence[Listed], None]:
        """Yield what lies in folders, as `inventory.folders` does.

        Raises:
            BlobUnavailable: the rest cannot be listed.
        """
        with trouble_about(None, self.name):
            async with aclosing(folders(self._writing, self._prefix, f"{self.name}, staging")) as batches:
                async for batch in batches:
                    yield batch

    async def newest(self, about: str, folder: str) -> datetime | None:
        """Return when something in a folder was written last; None: there is nothing.

        Raises:
            BlobUnavailable: nobody knows.
        """
        newest: datetime | None = None
        with trouble_about(about, self.name):
            async with asyncio.timeout(LIST_SECONDS):
                async for page in obstore.list(self._writing, self._prefix + folder):
                    newest = max([one["last_modified"] for one in page] + ([] if newest is None else [newest]))
        return newest

    async def _remove(self, about: str, key: str) -> None:
        try:
            with trouble_about(about, self.name):
                async with asyncio.timeout(STALL_SECONDS):
                    await obstore.delete_async(self._writing, self._prefix + key)
        except BlobMissing:
            return


def _revision(e_tag: str | None, version: str | None) -> UpdateVersion:
    """Return what the library takes: it wants nothing rather than None."""
    said: Any = {name: value for name, value in (("e_tag", e_tag), ("version", version)) if value is not None}
    revision: UpdateVersion = said
    return revision


async def streamed(store: ObjectStore, key: str, options: Any) -> AsyncGenerator[bytes, None]:
    """Yield an object, or a part of it, in bounded pieces as they come; errors are the library's, or `TimeoutError`."""
    async with asyncio.timeout(STALL_SECONDS):
        found = await obstore.get_async(store, key, options=options)
    chunks = aiter(found.stream(min_chunk_size=PIECE_BYTES))
    while True:
        async with asyncio.timeout(STALL_SECONDS):
            chunk = await anext(chunks, None)
        if chunk is None:
            return
        for begin in range(0, len(chunk), LARGEST_PIECE_BYTES):
            yield bytes(chunk[begin : begin + LARGEST_PIECE_BYTES])
