"""What a step's function is given: one upload, held back, with access to its bytes."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ..delivery.localfile import LocalBytes
from ..events.types import StartPostprocessingStep

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from ..delivery.base import Delivered
    from ..events.types import ResourceId

Beat = tuple[float | None, str]
"""What a heartbeat said: how much is done, and a message."""


def _unheard(beat: Beat) -> None:
    """Take a heartbeat where nobody listens."""


class StopSignal:
    """Tells the function of a step to end, and knows whether it took notice."""

    def __init__(self) -> None:
        self._told = threading.Event()
        self.heeded = False
        """Whether the function has asked after it was told; what it returns then is not used."""

    def tell(self) -> None:
        """Ask the function to end."""
        self._told.set()

    def ask(self) -> bool:
        """Return whether to end; this is the function's side."""
        if self._told.is_set():
            self.heeded = True
        return self.heeded


class StepUpload:
    """One upload that a step is to work on. Its attributes and methods may be used from any thread.

    The same upload may be handed to a step more than once: after a retry, a crash or a restart, and in rare cases
    while an earlier call still runs. So write results under a temporary name and rename them at the end.
    """

    def __init__(
        self,
        start: StartPostprocessingStep,
        delivered: Delivered,
        *,
        stop: StopSignal | None = None,
        on_beat: Callable[[Beat], None] = _unheard,
        trace_parent: str = "",
        attempt_id: str = "",
    ) -> None:
        """Steps are given these; for the tests of a step there is `from_file`."""
        self._start = start
        self._delivered = delivered
        self._stop = StopSignal() if stop is None else stop
        self._on_beat = on_beat
        self._trace_parent = trace_parent
        self._attempt_id = attempt_id

    @classmethod
    def from_file(cls, path: str | Path, *, upload_id: str = "0" * 32, filename: str | None = None) -> StepUpload:
        """Make one from a file on disk, to call a step's function in a test. Heartbeats go nowhere.

        Args:
            path: The bytes.
            upload_id: What `id` shall be.
            filename: What `filename` shall be; None: the file's own name.

        Raises:
            OSError: there is no such file, or it cannot be looked at.
        """
        path = Path(path)
        start = StartPostprocessingStep(
            upload_id=upload_id,
            url=path.absolute().as_uri(),
            filename=path.name if filename is None else filename,
            filesize=path.stat().st_size,
            step_to_start="",
        )
        return cls(start, LocalBytes(path, start.filesize))

    @property
    def id(self) -> str:
        """The upload's ID: the same in all steps and attempts, and fit to be part of a file name."""
        return self._start.upload_id

    @property
    def attempt_id(self) -> str:
        """Names this attempt: another one after a retry or a restart, the same when it is made again after a crash.

        Only in a test, from `from_file`, it is "".
        """
        return self._attempt_id

    @property
    def filename(self) -> str:
        """The file's name as the uploader gave it, without folders. Never use it as a path."""
        return self._start.filename

    @property
    def size_bytes(self) -> int:
        """How many bytes there are; never just a part of the file."""
        return self._delivered.size_bytes

    @property
    def resource(self) -> ResourceId | None:
        """What the file will become in the storage; None if the storage did not say."""
        return self._start.resource_id

    @property
    def space(self) -> str:
        """Where the file ends up, an opaque name; "" if the storage did not say."""
        return "" if self._start.resource_id is None else self._start.resource_id.space_id

    @property
    def user_id(self) -> str:
        """Who uploaded the file, an opaque name; "" if unknown."""
        user = self._start.executing_user
        return "" if user is None or user.id is None else user.id.opaque_id

    @property
    def trace_parent(self) -> str:
        """The W3C header `traceparent` to send to other services, so that what they do joins the upload's trace.

        There is one whether or not Penstock sends traces; only in a test, from `from_file`, it is "".
        """
        return self._trace_parent

    @property
    def is_file(self) -> bool:
        """Whether the bytes lie in a file on this machine, as they do for every step of one's own."""
        return self._delivered.is_file

    @property
    def path(self) -> Path:
        """The bytes as a file on this machine. It must not be changed, moved or removed, only read."""
        return self._delivered.path

    def open(self) -> BinaryIO:
        """Open the bytes for reading, in a function without `async`; use it in a `with`.

        Raises:
            OSError: the bytes cannot be read (any more).
        """
        return self.path.open("rb")

    def stream(self, *, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `start` up to, not including, `stop` (None: to the end), in an `async` function.

        The pieces hold at most 1 MiB.

        Raises:
            BytesUnavailable: the bytes cannot be read (any more), or ended early.
        """
        return self._delivered.stream(start=start, stop=stop)

    def heartbeat(self, fraction: float | None = None, message: str = "") -> None:
        """Say that the work goes on, to whoever watches and to whatever would give up on a silent step.

        Call it as often as you like: at most one heartbeat per second is passed on, the latest.

        Args:
            fraction: How much is done, from 0 to 1; what is outside is cut. None: cannot say.
            message: What is being done, for people.
        """
        if fraction is not None:
            fraction = None if math.isnan(fraction) else min(1.0, max(0.0, float(fraction)))
        self._on_beat((fraction, message))

    @property
    def cancelled(self) -> bool:
        """Whether the work is to end: the upload was cancelled, the time is up, or the server stops.

        A function without `async` asks now and then, and returns anything at all once this is true: what it returns
        after having seen it is not used. (An `async` function is cancelled by asyncio's own means.)
        """
        return self._stop.ask()
