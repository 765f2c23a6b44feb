"""What W3C says of the header `traceparent`."""

from __future__ import annotations

import pytest

from penstock.tracing.traceparent import Place, checked, parse, trace_id_of, write

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


@pytest.mark.parametrize(("flags", "number"), [("00", 0), ("01", 1), ("03", 3), ("ff", 255)])
def test_a_place_in_a_trace_is_read(flags: str, number: int) -> None:
    text = f"00-{TRACE}-{SPAN}-{flags}"
    assert parse(text) == Place(TRACE, SPAN, number)
    assert (trace_id_of(text), checked(text)) == (TRACE, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "none",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE[1:]}\u0661-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01more",
        f" 00-{TRACE}-{SPAN}-01",
    ],
)
def test_what_is_none_is_as_good_as_not_there(text: str) -> None:
    assert (parse(text), trace_id_of(text), checked(text)) == (None, "", "")


@pytest.mark.parametrize("more", ["", "-", "-what the future brings"])
def test_of_later_versions_what_is_known_is_read_and_sent_on_as_our_version(more: str) -> None:
    text = f"cc-{TRACE}-{SPAN}-01{more}"
    assert parse(text) == Place(TRACE, SPAN, 1)
    assert checked(text) == f"00-{TRACE}-{SPAN}-01"


def test_of_the_flags_only_the_known_one_is_sent_on() -> None:
    assert write(TRACE, SPAN, flags=0xFF) == f"00-{TRACE}-{SPAN}-01"
    assert write(TRACE, SPAN) == f"00-{TRACE}-{SPAN}-00"
