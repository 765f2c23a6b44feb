from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.sizes import exact_size, parse_size, readable_size

LARGEST = 2**63 - 1
sizes = st.integers(0, LARGEST) | st.builds(
    lambda number, power: number * power,
    st.integers(0, 7),
    st.sampled_from([*(1000**n for n in range(1, 7)), *(1024**n for n in range(1, 7))]),
)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("1234", 1234),
        (" 10 ", 10),
        ("1KB", 1000),
        ("1KiB", 1024),
        ("100MB", 100_000_000),
        ("100 MB", 100_000_000),
        ("2GiB", 2 * 1024**3),
        ("3TB", 3 * 1000**4),
        ("4PiB", 4 * 1024**5),
        ("7EiB", 7 * 1024**6),
    ],
)
def test_reads_what_the_go_services_read(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    ["", "B", "10B", "-1", "+1", "1.5GB", "1kb", "1kB", "1K", "1 000", "1_000", "٣", "1  MB", "MB", "1MiBB", "ten"],
)
def test_refuses_anything_else(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a size\. Write a whole number of bytes, or one with a unit"):
        parse_size(text)


@pytest.mark.parametrize("text", ["8EiB", "9999999999999999999", "10EB"])
def test_what_no_file_can_be_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="larger than any file can be"):
        parse_size(text)


@given(sizes)
def test_reads_back_what_it_writes(size_bytes: int) -> None:
    assert parse_size(exact_size(size_bytes)) == size_bytes


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(0, "0"), (1024, "1KiB"), (1000, "1KB"), (100 * 1024**2, "100MiB"), (1001, "1001")]
)
def test_writes_the_shortest_exact_text(size_bytes: int, text: str) -> None:
    assert exact_size(size_bytes) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (10 * 1024**2 + 300_000, "10.3 MiB"),
        (1000 * 1024, "1000 KiB"),
        (1024**2 - 1, "1 MiB"),
        (1024**3, "1 GiB"),
        (5 * 1024**4, "5 TiB"),
    ],
)
def test_people_see_about_how_much_it_is(size_bytes: int, text: str) -> None:
    assert readable_size(size_bytes) == text


@given(st.integers(0, LARGEST))
def test_what_people_see_is_short_and_within_half_a_percent(size_bytes: int) -> None:
    shown = readable_size(size_bytes)
    number, unit = shown.split(" ")
    assert len(shown) <= 9
    factor = 1 if unit == "B" else 1024 ** ("KMGTPE".index(unit[0]) + 1)
    assert abs(float(number) * factor - size_bytes) <= 0.0051 * size_bytes
