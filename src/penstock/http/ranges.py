"""Parts of a file: the Range header (RFC 9110, 14) and the conditions that come with it (13)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_PARTS: Final = 16
"""Of a request for more parts the header is passed over: it asks for more work than the whole file is."""
_SPEC: Final = re.compile(r"([0-9]{0,40})-([0-9]{0,40})", re.ASCII)
"""For "all of the rest", some clients write the largest number that they know."""
_TAGS: Final = re.compile(
    r'[ \t]*(?:(?P<weak>W/)?(?P<tag>"[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?=,|$)|(?P<any>\*)[ \t]*(?=,|$)|[^,]*)(?:,|$)'
)
"""One member of a list of entity tags (RFC 9110, 8.8.3), which may have commas in them; or something that is none."""


class Span(NamedTuple):
    """A part of a file, from `start` up to, not including, `stop`."""

    start: int
    stop: int

    @property
    def size_bytes(self) -> int:
        """How long it is."""
        return self.stop - self.start

    def content_range(self, size_bytes: int) -> str:
        """Return the value of Content-Range for this part of a file."""
        return f"bytes {self.start}-{self.stop - 1}/{size_bytes}"


def spans_of(header: str | None, size_bytes: int) -> Sequence[Span] | None:
    """Return the parts of a file that a Range header asks for.

    None: the header is missing, not understood, or asks for too much, so the whole file is the answer; and of an empty
    file, which clients ask for as they ask for others. Empty: all of what it asks for lies outside of the file.
    """
    unit, equals, listed = (header or "").partition("=")
    if not equals or unit.strip().lower() != "bytes" or size_bytes == 0:
        return None
    specs = [_SPEC.fullmatch(item.strip()) for item in listed.split(",") if item.strip()]
    if not specs or len(specs) > MOST_PARTS:
        return None
    spans = []
    for spec in specs:
        if spec is None or spec[0] == "-" or (spec[1] and spec[2] and int(spec[2]) < int(spec[1])):
            return None
        span = _span(spec[1], spec[2], size_bytes)
        if span is not None:
            spans.append(span)
    return None if sum(span.size_bytes for span in spans) > size_bytes else spans


def _span(first: str, last: str, size_bytes: int) -> Span | None:
    if first:
        stop = min(int(last) + 1, size_bytes) if last else size_bytes
        return Span(int(first), stop) if int(first) < size_bytes else None
    start = max(0, size_bytes - int(last))
    return Span(start, size_bytes) if start < size_bytes else None


class Validators(NamedTuple):
    """What tells one state of a file from another."""

    tag: str
    """The entity tag, a strong one, with its quotes."""
    modified_at: datetime | None
    lasting: bool = True
    """Whether no other file can ever be at the address. Where one can, times say little: one of several versions of the
    same second, or an older one that was restored, may be there now."""

    def unchanged(self, headers: Mapping[str, str]) -> bool:
        """Tell whether the client has the file already: If-None-Match, or else If-Modified-Since."""
        if "if-none-match" in headers:
            return _lists(headers["if-none-match"], self.tag, weak=True)
        since = date_of(headers.get("if-modified-since"))
        if since is None or self.modified_at is None:
            return False
        modified_at = self.modified_at.replace(microsecond=0)
        return modified_at == since or (self.lasting and modified_at < since)

    def refused(self, headers: Mapping[str, str]) -> bool:
        """Tell whether the client wants another file: If-Match, or else If-Unmodified-Since."""
        if "if-match" in headers:
            return not _lists(headers["if-match"], self.tag, weak=False)
        since = date_of(headers.get("if-unmodified-since"))
        return since is not None and self.modified_at is not None and self.modified_at.replace(microsecond=0) > since

    def range_of(self, headers: Mapping[str, str]) -> str | None:
        """Return the Range header, unless If-Range says that it is meant for another state of the file."""
        if_range = headers.get("if-range", self.tag).strip()
        if if_range != self.tag and not self._was_modified_at(date_of(if_range)):
            return None
        return headers.get("range")

    def _was_modified_at(self, date: datetime | None) -> bool:
        """Tell whether a time names this state of the file, and for certain no other one."""
        return self.lasting and self.modified_at is not None and self.modified_at.replace(microsecond=0) == date


def tags_of(header: str, *, weak: bool) -> tuple[str, ...]:
    """Return the entity tags of If-Match or If-None-Match, with their quotes, or `*`; what is neither is left out.

    `weak`: those that are weak as well, without what says so (RFC 9110, 8.8.3.2).
    """
    found = [item for item in _TAGS.finditer(header) if item["any"] or (item["tag"] and (weak or not item["weak"]))]
    return tuple(item["any"] or item["tag"] for item in found)


def _lists(header: str, tag: str, *, weak: bool) -> bool:
    tags = tags_of(header, weak=weak)
    return "*" in tags or tag in tags


def date_of(text: str | None) -> datetime | None:
    """Return the time of an HTTP date; None when there is none, or none that can be read."""
    try:
        found = parsedate_to_datetime(text) if text else None
    except (ValueError, OverflowError):
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found
