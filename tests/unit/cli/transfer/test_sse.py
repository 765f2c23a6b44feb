from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.transfer.sse import Event, EventReader

STREAM = (
    b"\xef\xbb\xbfretry: 1000\n\n"
    b": still here\n\n"
    b'id: 1\nevent: created\ndata: {"a":\ndata: 1}\n\n'
    b"id: 2\r\ndata:no blank\r\n\r\n"
    b"event: nothing\n\n"
    b"data\ndata\nunknown: x\n\n"
    b"id: 3\rdata: old\rdata: Mac\r\rdata: \xc3\xbc\n\n"
    b"data: never finished"
)
EVENTS = [
    Event("created", '{"a":\n1}', "1"),
    Event("message", "no blank", "2"),
    Event("message", "\n", "2"),
    Event("message", "old\nMac", "3"),
    Event("message", "ü", "3"),
]


def test_reads_a_stream_as_the_standard_says() -> None:
    assert EventReader().feed(STREAM) == EVENTS


@given(st.lists(st.integers(0, len(STREAM))))
def test_where_the_pieces_end_does_not_matter(cuts: list[int]) -> None:
    reader, events, start = EventReader(), list[Event](), 0
    for end in [*sorted(cuts), len(STREAM)]:
        events += reader.feed(STREAM[start:end])
        start = end
    assert events == EVENTS


@given(st.lists(st.binary(max_size=30), max_size=10))
def test_any_bytes_are_read(pieces: list[bytes]) -> None:
    reader, whole = EventReader(), EventReader()
    found = [event for piece in pieces for event in reader.feed(piece)]
    assert found == whole.feed(b"".join(pieces))


@pytest.mark.parametrize("piece", [b"x" * 70_000, b"data: " + b"x" * 70_000 + b"\n"])
def test_an_event_without_end_is_refused(piece: bytes) -> None:
    reader = EventReader()
    for _ in range(14):
        assert reader.feed(piece) == []
    with pytest.raises(ValueError, match="1 MiB"):
        reader.feed(piece)
