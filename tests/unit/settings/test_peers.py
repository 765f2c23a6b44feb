"""Proxies and origins, as operators write them."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from penstock.settings.peers import HostNames, Networks, Origins

HERE = Path()


def test_networks() -> None:
    read = Networks().from_text(" 10.0.0.0/8, ::1,", HERE)
    assert read == (ip_network("10.0.0.0/8"), ip_network("::1/128"))
    assert Networks().from_text(Networks().show(read), HERE) == read
    assert Networks().from_toml(["127.0.0.1"], HERE) == (ip_network("127.0.0.1/32"),)
    assert Networks().from_text("", HERE) == ()


@pytest.mark.parametrize("text", ["proxy", "10.0.0.1/8", "10.0.0.0/33", "*"])
def test_no_networks(text: str) -> None:
    with pytest.raises(ValueError, match="Write an address"):
        Networks().from_text(text, HERE)


def test_origins() -> None:
    read = Origins().from_text("https://App.example.org, http://localhost:5173", HERE)
    assert read == ("https://app.example.org", "http://localhost:5173")
    assert Origins().from_text(Origins().show(read), HERE) == read
    assert Origins().from_toml(["*"], HERE) == ("*",)
    assert Origins().from_text("", HERE) == ()


@pytest.mark.parametrize(
    "text",
    [
        "app.example.org",
        "https://",
        "ftp://x.org",
        "https://x.org/",
        "https://u@x.org",
        "*,https://x.org",
        "https://x.org:99999",
    ],
)
def test_no_origins(text: str) -> None:
    with pytest.raises(ValueError, match="not an origin"):
        Origins().from_text(text, HERE)


def test_host_names() -> None:
    read = HostNames().from_text("Files.example.org., penstock , a_b", HERE)
    assert read == ("files.example.org", "penstock", "a_b")
    assert HostNames().from_text(HostNames().show(read), HERE) == read
    assert HostNames().from_toml(["*"], HERE) == ("*",)
    assert HostNames().from_text("", HERE) == ()


@pytest.mark.parametrize(
    "text", ["a:80", "https://a", "a/b", "*.example.org", "*,a", "a b", "a..b", "-a", "wörker", "[::1]"]
)
def test_no_host_names(text: str) -> None:
    with pytest.raises(ValueError, match="not a host name"):
        HostNames().from_text(text, HERE)
