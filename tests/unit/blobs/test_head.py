"""The head of an upload in an object store: runs of segments, against a plain list of them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.blobs.objects.head import (
    SHORT_RUNS,
    BadHead,
    Head,
    Run,
    Segment,
    decode,
    encode,
    name_of,
    with_segment,
)

SIZE = 10


@st.composite
def segments(draw: st.DrawFn) -> list[Segment]:
    found, begin = list[Segment](), 0
    for writer, size in draw(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, SIZE)), max_size=30)):
        found.append(Segment(name_of(writer, begin), begin, begin + size))
        begin += size
    return found


def head_of(given_segments: list[Segment], tail: bytes = b"") -> Head:
    runs: tuple[Run, ...] = ()
    for segment in given_segments:
        runs = with_segment(runs, segment.name[0], segment, SIZE)
    return Head("mark", runs, tail)


@given(segments(), st.binary(max_size=5))
def test_the_segments_are_those_that_were_added(written: list[Segment], tail: bytes) -> None:
    head = head_of(written, tail)
    assert list(head.segments()) == written
    assert head.length_bytes == sum(one.size_bytes for one in written) + len(tail)
    assert decode(encode(head)) == head


@example([Segment("a-0", 0, 2)], 1, 1)
@given(segments(), st.integers(0, 300), st.integers(0, 300))
def test_a_part_needs_the_segments_that_it_touches(written: list[Segment], start: int, stop: int) -> None:
    found = list(head_of(written).segments(start, stop))
    assert found == [one for one in written if one.begin < stop and one.end > start and start < stop]


def test_whole_segments_of_one_writer_are_one_run() -> None:
    written = [Segment(name_of("a", at), at, at + SIZE) for at in range(0, 1000, SIZE)]
    assert len(head_of(written).runs) == 1


def test_many_short_runs_are_put_together() -> None:
    runs = tuple(Run(f"{number}", number, number + 1, SIZE) for number in range(SHORT_RUNS))
    assert Head("", runs).worth_keeping(SIZE) == ()
    assert Head("", runs[1:]).worth_keeping(SIZE) == runs[1:]
    long = Run("long", SHORT_RUNS, SHORT_RUNS + SIZE, SIZE)
    assert Head("", (*runs, long)).worth_keeping(SIZE) == (*runs, long)


@pytest.mark.parametrize(
    "content", [b"", b"no", b"[]\n", b'[2,"m",[]]\n', b'[1,"m",[["a",5,0]]]\n', b'[1,"m",[["a",0,8]]]']
)
def test_what_is_no_head(content: bytes) -> None:
    with pytest.raises(BadHead):
        decode(content)
