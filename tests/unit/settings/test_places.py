from __future__ import annotations

from pathlib import Path

import pytest

from penstock.settings.places import Address, File, Folder, Listen, Paths, Servers, WebAddress

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
    ("listens", "reached"),
    [
        ("0.0.0.0:80", "127.0.0.1:80"),
        ("[::]:80", "[::1]:80"),
        ("127.0.0.2:80", "127.0.0.2:80"),
        ("localhost:80", "localhost:80"),
    ],
)
def test_where_a_server_is_reached_from_its_own_machine(listens: str, reached: str) -> None:
    assert str(Listen().from_text(listens, HERE).from_here) == reached


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


class TestServers:
    @pytest.mark.parametrize(
        ("text", "servers"),
        [
            ("127.0.0.1:9233", ("127.0.0.1:9233",)),
            (" a:1 ,, b ", ("a:1", "b")),
            ("10.10.0.200:26379/mymaster", ("10.10.0.200:26379/mymaster",)),
            ("redis://u:p@h:6379/0", ("redis://u:p@h:6379/0",)),
            ("[::1]:4222,[::1]", ("[::1]:4222", "[::1]")),
        ],
    )
    def test_they_are_kept_as_written(self, text: str, servers: tuple[str, ...]) -> None:
        assert Servers().from_text(text, HERE) == servers

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            (",", "there is no server in it. Write host:port."),
            ("a:x", "'a:x' does not end in a port. Write a number from 1 to 65535 after the last colon."),
            ("a:", "'a:' does not end in a port. Write a number from 1 to 65535 after the last colon."),
            ("b,a:65536", "'a:65536' does not end in a port. Write a number from 1 to 65535 after the last colon."),
            (":4222", "':4222' is not a server. Write host:port."),
            ("a b:1", "'a b:1' is not a server. Write host:port."),
            ("::1:4222", "'::1:4222' has too many colons. Write an IPv6 address in brackets: [::1]:4222."),
            ("nats://u:p@", "'nats://***@' is not a server. Write host:port."),
            ("http://a:1", "'http://a:1' begins with http://. Write host:port, or nats://host:port."),
        ],
    )
    def test_what_is_none_is_told(self, text: str, complaint: str) -> None:
        with pytest.raises(ValueError) as caught:
            Servers(schemes=("nats", "tls")).from_text(text, HERE)
        assert str(caught.value) == complaint

    def test_in_toml_they_may_be_an_array(self) -> None:
        assert Servers().from_toml(["a:1", "b:2"], HERE) == ("a:1", "b:2")
        with pytest.raises(ValueError, match=r"must be text in quotes: list of host:port"):
            Servers().from_toml(7, HERE)

    def test_what_may_be_a_password_is_not_shown(self) -> None:
        assert Servers().show(("nats://me:secret@a:1", "me:secret@b:2", "c:3")) == "nats://***@a:1,***@b:2,c:3"


def test_a_file_may_be_none() -> None:
    assert File().from_text(" ", HERE) is None
    assert File().from_text("ca.pem", HERE) == HERE / "ca.pem"
    assert (File().show(None), File().show(Path("/ca.pem"))) == ("", "/ca.pem")
