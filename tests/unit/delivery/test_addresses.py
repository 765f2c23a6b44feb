from __future__ import annotations

import pytest

from penstock.delivery.addresses import is_web_address, moved_to, origin_of, path_and_query, server_of


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        ("http://a/x", True),
        ("https://[::1]:8/", True),
        ("HTTPS://a", True),
        ("http://", False),
        ("http://[x/", False),
        ("ftp://a/x", False),
        ("/x", False),
    ],
)
def test_what_can_be_asked(url: str, *, is_one: bool) -> None:
    assert is_web_address(url) is is_one


def test_nothing_is_shown_but_the_server() -> None:
    assert server_of("https://me:secret@host:8/token?signature#more") == "host:8"


def test_a_port_that_is_not_named_is_the_usual_one() -> None:
    assert origin_of("https://Host/x") == origin_of("https://host:443/y") == ("https", "host", 443)
    assert origin_of("http://host/") != origin_of("http://host:443/")
    with pytest.raises(ValueError, match="Port"):
        origin_of("http://host:99999/")


@pytest.mark.parametrize(
    ("location", "found"),
    [
        ("/c?d", "http://me:secret@a:1/c?d"),
        ("c", "http://me:secret@a:1/b/c"),
        ("//b/c", "http://b/c"),
        ("https://b/%2f/../%7e?s=a+b%3d", "https://b/%2f/../%7e?s=a+b%3d"),
    ],
)
def test_where_a_server_sends_us(location: str, found: str) -> None:
    assert moved_to("http://me:secret@a:1/b/x?y", location) == found


@pytest.mark.parametrize("location", ["gopher://x", "file:///etc/passwd", "http://[x/"])
def test_a_server_cannot_send_us_out_of_the_web(location: str) -> None:
    with pytest.raises(ValueError):
        moved_to("http://a/b", location)


@pytest.mark.parametrize(
    ("url", "path", "query"),
    [
        ("http://a", "/", ""),
        ("http://a/%2F/../b%7e;p=[1]?x=%20+&y=a;b|c\\^/%3d#f", "/%2F/../b%7e;p=[1]", "x=%20+&y=a;b|c\\^/%3d"),
        ("http://a/b c/ü?d e", "/b%20c/%C3%BC", "d%20e"),
    ],
)
def test_a_server_hears_its_address_letter_by_letter(url: str, path: str, query: str) -> None:
    assert path_and_query(url) == (path, query)


def test_no_address_says_more_than_a_line() -> None:
    with pytest.raises(ValueError, match="control"):
        path_and_query("http://a/b\r\nX: y")
