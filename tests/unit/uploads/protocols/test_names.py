from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.uploads.protocols.names import LONGEST_BYTES, UnsafeName, checked_name


@pytest.mark.parametrize(
    "name",
    [
        "report.pdf",
        "Änderungen 2026 (2).tar.gz",
        "数据.csv",
        ".bashrc",
        "...x",
        "-rf",
        "a" * LONGEST_BYTES,
        "ä" * 127,
        "console.log",
        "auxiliary.tex",
        "com10.txt",
        "con artist.txt",
        "100%.txt",
        "naïve;quote\"'.txt",
        "👩‍🔬.txt",
    ],
)
def test_plain_names_are_taken_as_they_are(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        ("\u3000", "is empty"),
        (".", "names a folder"),
        ("..", "names a folder"),
        (".. .", "names a folder"),
        ("../../etc/passwd", "path separator"),
        ("/etc/passwd", "path separator"),
        ("a/b", "path separator"),
        ("..\\..\\boot.ini", "path separator"),
        ("C:\\file", "path separator"),
        ("a\0b", "control character"),
        ("a\r\nSet-Cookie: x=1", "control character"),
        ("a\nb", "control character"),
        ("a\x7fb", "control character"),
        ("a\x85b", "control character"),
        ("a\u2028b", "control character"),
        ("a\ud800b", "control character"),
        ("photo\u202egnp.exe", "turns the direction"),
        ("a\u2066b", "turns the direction"),
        ("CON", "reserved"),
        ("con.txt", "reserved"),
        ("Aux.tar.gz", "reserved"),
        ("lpt1 ", "reserved"),
        ("COM¹.txt", "reserved"),
        ("con .txt", "reserved"),
        ("nul:x", "reserved"),
        ("CONIN$", "reserved"),
        ("a" * (LONGEST_BYTES + 1), "longer than 255 bytes"),
        ("ä" * 128, "longer than 255 bytes"),
    ],
)
def test_unsafe_names_are_refused_with_the_reason_and_a_way_out(name: str, reason: str) -> None:
    with pytest.raises(UnsafeName, match=reason) as raised:
        checked_name(name)
    assert "Send a plain name" in str(raised.value)
    assert raised.value.code == "unsafe-name"


@given(st.text(st.characters(exclude_categories=())))
def test_whatever_is_taken_is_one_element_of_a_path_and_one_line(name: str) -> None:
    try:
        taken = checked_name(name)
    except UnsafeName:
        return
    assert taken == name
    assert len(name.splitlines()) == 1
    assert not set(name) & set("/\\\0")
    assert 1 <= len(name.encode()) <= LONGEST_BYTES
