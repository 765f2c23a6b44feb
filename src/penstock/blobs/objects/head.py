"""The head of a staged upload: the one object that says which bytes count. Pure: it knows no service.

The bytes lie in *segments*, objects that are written once and never changed. Who appends names them after itself, with
a random name that is used for one request, so two writers can never write the same one. A segment counts from when on
the head names its *run*; the head changes only from the revision that its writer has read. The last few bytes are in
the head itself: a small upload is one object, and many small requests do not make many small ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

SEGMENT_BYTES: Final = 8 * 1024 * 1024
"""What is sent in one request."""
TAIL_BYTES: Final = 64 * 1024
"""The most that is kept in the head."""
SHORT_RUNS: Final = 16
"""So many runs below a whole segment, one after the other, are put together to one."""
_VERSION: Final = 1


class Segment(NamedTuple):
    """One object with some of the bytes: from `begin` up to, not including, `end`."""

    name: str
    begin: int
    end: int

    @property
    def size_bytes(self) -> int:
        """How many it holds."""
        return self.end - self.begin


class Run(NamedTuple):
    """Segments of one writer that follow each other: all of one size, but for the last, which may be smaller."""

    writer: str
    begin: int
    end: int
    segment_bytes: int


class _Written(msgspec.Struct, array_like=True, frozen=True):
    """What the first line of a head holds, in JSON. The end of a run is the beginning of the next one."""

    version: int
    mark: str
    runs: list[tuple[str, int, int]]


class BadHead(ValueError):
    """Not a head, or not one that this version can read."""


class Head(NamedTuple):
    """What is staged of one upload."""

    mark: str
    """Random, and another one each time: who wrote this one recognises it."""
    runs: tuple[Run, ...] = ()
    tail: bytes = b""
    """What follows the runs."""

    @property
    def runs_end(self) -> int:
        """Where the tail begins."""
        return self.runs[-1].end if self.runs else 0

    @property
    def length_bytes(self) -> int:
        """How many bytes are staged."""
        return self.runs_end + len(self.tail)

    def segments(self, start: int = 0, stop: int | None = None) -> Iterator[Segment]:
        """Yield those that hold bytes from `start` up to, not including, `stop` (None: to the end)."""
        stop = self.runs_end if stop is None else min(stop, self.runs_end)
        for run in self.runs:
            if max(run.begin, start) >= min(run.end, stop):
                continue
            skipped = max(0, start - run.begin) // run.segment_bytes
            for begin in range(run.begin + skipped * run.segment_bytes, min(run.end, stop), run.segment_bytes):
                yield Segment(name_of(run.writer, begin), begin, min(begin + run.segment_bytes, run.end))

    def worth_keeping(self, segment_bytes: int) -> tuple[Run, ...]:
        """Return the runs that stay when more is appended: all, or all but many short ones at the end."""
        last = self.runs[-SHORT_RUNS:]
        if len(last) == SHORT_RUNS and all(run.end - run.begin < segment_bytes for run in last):
            return self.runs[:-SHORT_RUNS]
        return self.runs


def name_of(writer: str, begin: int) -> str:
    """Return the name of a segment."""
    return f"{writer}-{begin:x}"


def with_segment(runs: tuple[Run, ...], writer: str, segment: Segment, segment_bytes: int) -> tuple[Run, ...]:
    """Return runs with one more segment of a writer at their end; whole ones have `segment_bytes`."""
    if runs:
        last = runs[-1]
        is_next = (segment.begin - last.begin) % segment_bytes == 0
        if last.writer == writer and last.segment_bytes == segment_bytes and is_next:
            return (*runs[:-1], last._replace(end=segment.end))
    return (*runs, Run(writer, segment.begin, segment.end, segment_bytes))


def encode(head: Head) -> bytes:
    """Return what is written."""
    runs = [(run.writer, run.end, run.segment_bytes) for run in head.runs]
    return msgspec.json.encode(_Written(_VERSION, head.mark, runs)) + b"\n" + head.tail


def decode(content: bytes) -> Head:
    """Return what was written.

    Raises:
        BadHead: it was not written by `encode`, or by a version to come.
    """
    line, _, tail = content.partition(b"\n")
    try:
        written = msgspec.json.decode(line, type=_Written)
    except msgspec.MsgspecError as error:
        raise BadHead(str(error)) from None
    if written.version != _VERSION:
        raise BadHead(f"it has version {written.version}, and this Penstock reads version {_VERSION}")
    runs, begin = list[Run](), 0
    for writer, end, segment_bytes in written.runs:
        if end <= begin or segment_bytes <= 0:
            raise BadHead("its runs do not follow each other")
        runs.append(Run(writer, begin, end, segment_bytes))
        begin = end
    return Head(written.mark, tuple(runs), tail)
