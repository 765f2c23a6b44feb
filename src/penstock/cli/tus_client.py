"""A tus client that goes on by itself: through cut connections, restarts of the server, and its own."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
import msgspec

from ..errors import InvalidRequest, Unavailable
from .client import Refused, explain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TUS: Final = {"Tus-Resumable": "1.0.0"}
_PIECE_BYTES: Final = 1024 * 1024
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 10.0


class GaveUp(Unavailable):
    """No progress for longer than we were told to wait. Running the command again continues."""

    code = "gave-up"


class FileChanged(InvalidRequest):
    """The file is not the one any more that was begun to be uploaded."""

    code = "file-changed"


class Unfinished:
    """Remembers, in a folder, which files are on their way to which upload, so that another call goes on with them."""

    def __init__(self, server: str) -> None:
        state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        self._folder = Path(state) / "penstock" / "uploads"
        self._server = server

    def find(self, file: Path) -> str | None:
        """Return the URL of the upload that was begun for this very file, unchanged since, if there is one."""
        try:
            return str(msgspec.json.decode(self._place(file).read_bytes())["url"])
        except (OSError, msgspec.DecodeError, KeyError, TypeError):
            return None

    def remember(self, file: Path, url: str) -> None:
        """Note that `file` is on its way to `url`; without a place to write, it is only not remembered."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._place(file).write_bytes(msgspec.json.encode({"url": url, "file": str(file.absolute())}))
        except OSError:
            return

    def forget(self, file: Path) -> None:
        """Forget a file."""
        self._place(file).unlink(missing_ok=True)

    def _place(self, file: Path) -> Path:
        found = file.stat()
        facts = f"{self._server}\0{file.absolute()}\0{found.st_size}\0{found.st_mtime_ns}"
        return self._folder / f"{hashlib.sha256(facts.encode()).hexdigest()[:32]}.json"


class TusClient:
    """Uploads files to one server.

    Args:
        url: the server.
        patience_seconds: how long no byte may get through before giving up.
    """

    def __init__(self, url: str, *, space: str, patience_seconds: float) -> None:
        self._url = url
        self._space = space
        self._patience_seconds = patience_seconds
        self._unfinished = Unfinished(url)
        self._client = httpx.Client(timeout=httpx.Timeout(60.0, connect=5.0))

    def upload(self, file: Path, show: Callable[[int], None]) -> str:
        """Upload a file and return its upload ID; `show` is told how many bytes the server has.

        Raises:
            Refused: the server does not want it.
            GaveUp: no progress for too long.
            FileChanged: the file was changed meanwhile.
        """
        size_bytes = file.stat().st_size
        before = _stamp(file)
        url = self._unfinished.find(file)
        progress_at, pause, best = time.monotonic(), _FIRST_PAUSE_SECONDS, -1
        while True:
            try:
                if url is None:
                    url = self._create(file, size_bytes)
                offset = self._offset(url)
                if offset is None:  # the server does not know it any more
                    self._unfinished.forget(file)
                    url = None
                    continue
                show(offset)
                if offset > best:
                    best, progress_at, pause = offset, time.monotonic(), _FIRST_PAUSE_SECONDS
                if offset == size_bytes:
                    self._unfinished.forget(file)
                    return url.rpartition("/")[2]
                self._send(url, file, offset, show)
                if _stamp(file) != before:
                    raise FileChanged(f"{file} was changed while it was uploaded. Upload it again.")
            except httpx.TransportError as error:
                if time.monotonic() - progress_at > self._patience_seconds:
                    raise GaveUp(
                        f"{file}: the server at {self._url} has not answered for {self._patience_seconds:g} s. "
                        "Run the command again to continue."
                    ) from error
                time.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _create(self, file: Path, size_bytes: int) -> str:
        pairs = {"filename": file.name, "space": self._space}
        metadata = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())
        headers = {**_TUS, "Upload-Length": str(size_bytes), "Upload-Metadata": metadata}
        answer = self._client.post(f"{self._url}/uploads/", headers=headers)
        if answer.status_code in (429, 502, 503):
            raise httpx.ReadError(explain(answer))
        if answer.status_code != 201:
            raise Refused(f"{file}: {explain(answer)}")
        url = str(httpx.URL(f"{self._url}/uploads/").join(answer.headers["Location"]))
        self._unfinished.remember(file, url)
        return url

    def _offset(self, url: str) -> int | None:
        """Return how many bytes the server has; None when the upload is gone."""
        answer = self._client.head(url, headers=_TUS)
        if answer.status_code in (404, 410):
            return self._end_of(url) if answer.status_code == 410 else None
        if answer.is_error:
            raise httpx.ReadError(f"status {answer.status_code}")
        return int(answer.headers["Upload-Offset"])

    def _end_of(self, url: str) -> int | None:
        """Return the size of an upload that was complete and then rejected or deleted: there is nothing to send."""
        upload_id = url.rpartition("/")[2]
        answer = self._client.get(f"{self._url}/api/v1/uploads/{upload_id}")
        if answer.is_error or answer.json()["received_at"] is None:
            return None
        return int(answer.json()["size"])

    def _send(self, url: str, file: Path, offset: int, show: Callable[[int], None]) -> None:
        headers = {
            **_TUS,
            "Upload-Offset": str(offset),
            "Content-Type": "application/offset+octet-stream",
            "Content-Length": str(file.stat().st_size - offset),
        }
        answer = self._client.patch(url, headers=headers, content=_pieces(file, offset, show))
        if answer.status_code in (413, 415):
            raise Refused(f"{file}: {explain(answer)}")
        if answer.is_error:
            raise httpx.ReadError(explain(answer))


def _pieces(file: Path, offset: int, show: Callable[[int], None]) -> Iterator[bytes]:
    with file.open("rb") as source:
        source.seek(offset)
        while piece := source.read(_PIECE_BYTES):
            yield piece
            offset += len(piece)
            show(offset)


def _stamp(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns
