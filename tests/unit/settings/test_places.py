from __future__ import annotations

from pathlib import Path

import pytest

from penstock.settings.places import Address, Folder, Listen, Paths, WebAddress

HERE = Path("/here")


def test_paths_start_where_they_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert Folder().from_text("data", HERE) == Path("/here/data")
    assert Folder().from_text("/srv/data", HERE) == Path("/srv/data")
    assert Folder().from_text("~/data", HERE) == Path("/home/somebody/data")
    assert Paths().from_text("a.py, /b.py", HERE) == (Path("/here/a.py"), Path("/b.py"))
    assert Paths().from_toml(["a, with comma.py"], HERE) == (Path("/here/a, with comma.py"),)
    assert Paths().from_toml("a.py", HERE) == (Path("/here/a.py"),)


def test_a_home_that_is_none_is_told() -> None:
    with pytest.raises(ValueError, match="no such home folder"):
        Folder().from_text("~nobody-of-that-name/data", HERE)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("uploads.example.org:80", Address("uploads.example.org", 80)),
        ("[::1]:8080", Address("::1", 8080)),
        (":9000", Address("0.0.0.0", 9000)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert Listen().from_text(text, HERE) == address
    assert Listen().from_text(str(address), HERE) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", "8080", "localhost", "localhost:", "localhost:0", "localhost:65536", "localhost:x", "localhost:²"),
        *("::1:8080", "[::1]", "[::1:80", "::1]:80", "http://localhost:80", "local host:80", "localhost:" + "9" * 5000),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Write"):
        Listen().from_text(text, HERE)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", None),
        ("https://uploads.example.org/", "https://uploads.example.org"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://example.org/uploads/", "https://example.org/uploads"),
    ],
)
def test_web_addresses(text: str, url: str | None) -> None:
    assert WebAddress().from_text(text, HERE) == url


@pytest.mark.parametrize(
    "text",
    ["uploads.example.org", "ftp://example.org", "http://", "http://example.org:99999", "http://e.org?x=1", "http://["],
)
def test_what_is_no_web_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"Write it like https://uploads\.example\.org\."):
        WebAddress().from_text(text, HERE)


def test_a_password_in_a_web_address_is_not_shown() -> None:
    assert WebAddress().show("https://me:secret@example.org/x") == "https://***@example.org/x"
    assert WebAddress().show(None) == ""
