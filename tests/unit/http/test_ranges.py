from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.http.ranges import MOST_PARTS, Span, Validators, spans_of

TAG = '"abc"'
AT = datetime(2026, 3, 1, 12, 0, 5, 700_000, tzinfo=UTC)
SAME, EARLIER, LATER = (f"Sun, 01 Mar 2026 12:00:0{second} GMT" for second in (5, 4, 6))
VALIDATORS = Validators(TAG, AT)


@pytest.mark.parametrize(
    ("header", "spans"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("bytes=0-99", [(0, 100)]),
        ("bytes=0-", [(0, 100)]),
        ("bytes=99-", [(99, 100)]),
        ("bytes=5-1000", [(5, 100)]),
        ("bytes=5-" + "9" * 20, [(5, 100)]),
        ("bytes=-1", [(99, 100)]),
        ("bytes=-1000", [(0, 100)]),
        ("Bytes = 0-1 ,\t5-6", [(0, 2), (5, 7)]),
        ("bytes=50-,0-1", [(50, 100), (0, 2)]),
        ("bytes=0-1,200-300", [(0, 2)]),
        ("bytes=,0-1,", [(0, 2)]),
        ("bytes=" + ",".join(["0-0"] * MOST_PARTS), [(0, 1)] * MOST_PARTS),
    ],
)
def test_parts_that_are_there(header: str, spans: list[tuple[int, int]]) -> None:
    assert spans_of(header, 100) == [Span(*span) for span in spans]


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=1000-,2000-"])
def test_parts_that_are_not(header: str) -> None:
    assert spans_of(header, 100) == []


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=5-2",
        "bytes=0-1,x",
        "bytes=+1-2",
        "bytes=²-3",
        "lines=0-1",
        "bytes=0-99,0-0",
        "bytes=" + ",".join(["0-0"] * (MOST_PARTS + 1)),
        "bytes=0-" + "9" * 41,
    ],
)
def test_what_is_not_understood_or_asks_for_too_much_is_passed_over(header: str | None) -> None:
    assert spans_of(header, 100) is None


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-5", "bytes=0-0", "bytes=7-", None])
def test_an_empty_file_is_sent_whole(header: str | None) -> None:
    assert spans_of(header, 0) is None


@given(st.text(), st.integers(0, 1000))
def test_spans_never_leave_the_file_nor_add_up_to_more(text: str, size: int) -> None:
    spans = spans_of(f"bytes={text}", size) or []
    assert all(0 <= span.start < span.stop <= size for span in spans)
    assert sum(span.size_bytes for span in spans) <= size


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), max_size=5))
def test_well_formed_ranges_are_slices(pairs: list[tuple[int, int]]) -> None:
    data = bytes(range(100))
    spans = spans_of("bytes=" + ",".join(f"{first}-{last}" for first, last in pairs), len(data))
    if spans is not None:
        wanted = [data[first : last + 1] for first, last in pairs if first < len(data)]
        assert [data[span.start : span.stop] for span in spans] == wanted


def test_a_part_is_named_as_clients_count() -> None:
    assert Span(0, 10).content_range(100) == "bytes 0-9/100"


@pytest.mark.parametrize(
    ("headers", "unchanged"),
    [
        ({}, False),
        ({"if-none-match": TAG}, True),
        ({"if-none-match": f'"x", W/{TAG}'}, True),
        ({"if-none-match": "*"}, True),
        ({"if-none-match": '"x"'}, False),
        ({"if-none-match": f'W/"x,y" ,\t{TAG}\t,'}, True),
        ({"if-none-match": '"a,*,b"'}, False),
        ({"if-none-match": '"x"', "if-modified-since": LATER}, False),
        ({"if-modified-since": SAME}, True),
        ({"if-modified-since": LATER}, True),
        ({"if-modified-since": EARLIER}, False),
        ({"if-modified-since": "yesterday"}, False),
        ({"if-modified-since": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, False),
        ({"if-modified-since": f"Mon, 01 Jan 2020 00:00:00 +{'9' * 30}"}, False),
    ],
)
def test_whether_the_client_has_it(headers: dict[str, str], unchanged: bool) -> None:
    assert VALIDATORS.unchanged(headers) is unchanged


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({}, False),
        ({"if-match": TAG}, False),
        ({"if-match": "*"}, False),
        ({"if-match": f"W/{TAG}"}, True),
        ({"if-match": '"x"'}, True),
        ({"if-match": '"a,*,b"'}, True),
        ({"if-match": '"*"'}, True),
        ({"if-match": f'"a, {TAG}'}, False),
        ({"if-unmodified-since": SAME}, False),
        ({"if-unmodified-since": EARLIER}, True),
        ({"if-unmodified-since": "yesterday"}, False),
    ],
)
def test_whether_the_client_means_another(headers: dict[str, str], refused: bool) -> None:
    assert VALIDATORS.refused(headers) is refused


@pytest.mark.parametrize(
    ("if_range", "used"),
    [(TAG, True), (SAME, True), ('"x"', False), (f"W/{TAG}", False), (EARLIER, False), (LATER, False), ("?", False)],
)
def test_a_range_may_be_meant_for_one_state_of_the_file(if_range: str, used: bool) -> None:
    wanted = VALIDATORS.range_of({"if-range": if_range, "range": "bytes=0-1"})
    assert wanted == ("bytes=0-1" if used else None)


def test_without_a_time_only_the_tag_counts() -> None:
    timeless = Validators(TAG, None)
    assert not timeless.unchanged({"if-modified-since": LATER})
    assert not timeless.refused({"if-unmodified-since": EARLIER})
    assert timeless.range_of({"if-range": SAME, "range": "bytes=0-1"}) is None


@pytest.mark.parametrize(("since", "unchanged"), [(SAME, True), (LATER, False), (EARLIER, False), ("yesterday", False)])
def test_where_files_take_each_others_place_only_the_very_time_says_that_it_is_the_same(
    since: str, unchanged: bool
) -> None:
    """An older version may have been restored after the client has read a newer one."""
    assert Validators(TAG, AT, lasting=False).unchanged({"if-modified-since": since}) is unchanged


def test_where_files_take_each_others_place_a_time_joins_no_parts() -> None:
    """Two versions may have been released in one second: only the tag tells them apart."""
    changing = Validators(TAG, AT, lasting=False)
    assert changing.range_of({"if-range": SAME, "range": "bytes=0-1"}) is None
    assert changing.range_of({"if-range": TAG, "range": "bytes=0-1"}) == "bytes=0-1"
