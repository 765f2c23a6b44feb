"""Where a file is to go: an address of ours, however a proxy shows us, and no other."""

from __future__ import annotations

import pytest

from penstock.errors import InvalidRequest
from penstock.http.destination import address_of, destination_of
from penstock.http.problems import ForeignDestination, status_of
from penstock.uploads.errors import BadHeader
from penstock.uploads.places import Place
from penstock.uploads.protocols.names import UnsafeName

BASE = "http://files.example.org:8080"
PUBLIC = "https://example.org/penstock"


def place(destination: str, base: str = BASE, host: str = "") -> Place:
    return destination_of({"destination": destination, "host": host}, "lab", base)


@pytest.mark.parametrize(
    ("destination", "base", "host"),
    [
        ("/files/a/b.txt", BASE, ""),
        ("http://files.example.org:8080/files/a/b.txt", BASE, ""),
        ("http://FILES.example.org:8080/files/a/b.txt", BASE, ""),
        ("https://files.example.org:8080/files/a/b.txt", BASE, ""),
        ("http://example.org:80/files/a/b.txt", "http://example.org", ""),
        ("https://example.org/files/a/b.txt", "http://example.org", ""),
        ("https://example.org:443/files/a/b.txt", "http://example.org", ""),
        ("//example.org/files/a/b.txt", "http://example.org", ""),
        ("http://[::1]:8080/files/a/b.txt", "http://[::1]:8080", ""),
        # Behind a proxy that shows us under a prefix: as its clients see it, and as it may rewrite it.
        ("https://example.org/penstock/files/a/b.txt", PUBLIC, "10.0.0.7:8080"),
        ("/penstock/files/a/b.txt", PUBLIC, "10.0.0.7:8080"),
        ("http://10.0.0.7:8080/files/a/b.txt", PUBLIC, "10.0.0.7:8080"),
        ("/files/a/b.txt", PUBLIC, "10.0.0.7:8080"),
        ("/files/a/b.txt", "", ""),
    ],
)
def test_an_address_of_ours(destination: str, base: str, host: str) -> None:
    assert place(destination, base, host) == Place("lab", "a/b.txt")


@pytest.mark.parametrize(
    ("destination", "base"),
    [
        ("http://evil.example/files/a", BASE),
        ("http://files.example.org/files/a", BASE),
        ("http://files.example.org:8081/files/a", BASE),
        ("http://files.example.org.evil.example:8080/files/a", BASE),
        ("http://files.example.org:8080@evil.example/files/a", BASE),
        ("ftp://files.example.org:8080/files/a", BASE),
        ("//evil.example/files/a", BASE),
        ("http://example.org:8080/penstock/files/a", PUBLIC),
        ("http://anywhere/files/a", ""),
    ],
)
def test_an_address_of_another_server(destination: str, base: str) -> None:
    with pytest.raises(ForeignDestination, match="not on this server") as refused:
        place(destination, base, "10.0.0.7:8080")
    assert status_of(refused.value) == 502


@pytest.mark.parametrize(
    ("destination", "error"),
    [
        ("", BadHeader),
        ("files/a", BadHeader),
        ("/elsewhere/a", BadHeader),
        ("/other/files/a", BadHeader),
        ("https://example.org/files/a", BadHeader),
        ("http:/files/a", BadHeader),
        ("mailto:a@example.org", BadHeader),
        ("http://[/files/a", BadHeader),
        ("http://example.org:x/files/a", BadHeader),
        ("/files/..%2Fa", UnsafeName),
        ("/files/", UnsafeName),
        ("/files/%zz", UnsafeName),
        ("/files/a?space=", BadHeader),
    ],
)
def test_no_address_of_a_file(destination: str, error: type[InvalidRequest]) -> None:
    with pytest.raises(error):
        place(destination, PUBLIC, "10.0.0.7:8080")


def test_a_name_is_encoded_or_sent_as_it_is() -> None:
    assert place("/files/%C3%9Cbung%201.txt?space=a%20b") == Place("a b", "Übung 1.txt")
    assert place("/files/Übung.txt".encode().decode("latin-1")) == Place("lab", "Übung.txt")
    assert place("/files/a?workspace=1") == Place("lab", "a")


def test_an_address_leads_back_to_its_file() -> None:
    for there in (Place("default", "a/b c.txt"), Place("Labor 1&2", "ü/50%?.txt")):
        address = address_of(there, PUBLIC)
        assert address.startswith("https://example.org/penstock/files/")
        assert destination_of({"destination": address}, "default", PUBLIC) == there
