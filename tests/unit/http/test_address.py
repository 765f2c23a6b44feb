"""Under which address clients are told to find things, and who may say so."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from penstock.http.address import Forwarded, PublicAddress, forwarded

PROXY = ("10.0.0.7", 40000)
STRANGER = ("192.0.2.1", 40000)
TRUSTING = PublicAddress(None, [ip_network("10.0.0.0/8"), ip_network("fd00::/8")])


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("example.org", "https://example.org"),
        ("example.org:8080", "https://example.org:8080"),
        ("[2001:db8::1]:80", "https://[2001:db8::1]:80"),
        ("", ""),
        ("a b", ""),
        ("evil/path", ""),
        ("user@evil", ""),
        ("a, b", ""),
        ("x:port", ""),
    ],
)
def test_the_address_is_what_the_request_names(host: str, url: str) -> None:
    scope = {"scheme": "https", "client": PROXY}
    assert PublicAddress(None).base(scope, {"host": host, "x-forwarded-host": "evil"}) == url


def test_a_configured_address_is_used_instead() -> None:
    configured = PublicAddress("https://files.example.org/", [ip_network("10.0.0.0/8")])
    headers = {"host": "internal", "x-forwarded-host": "other.example"}
    assert configured.base({"scheme": "http", "client": PROXY}, headers) == "https://files.example.org"


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-proto": "https", "x-forwarded-host": "files.example.org", "x-forwarded-prefix": "/penstock/"},
        {"forwarded": "for=192.0.2.1;proto=https;host=files.example.org", "x-forwarded-prefix": "/penstock"},
        {
            "forwarded": 'host="evil.example", proto=HTTPS; Host="files.example.org"',
            "x-forwarded-prefix": "/penstock",
        },
        {
            "x-forwarded-proto": "http, https",
            "x-forwarded-host": "evil.example, files.example.org",
            "x-forwarded-prefix": "/penstock",
        },
    ],
)
def test_what_a_trusted_proxy_says_last_is_believed(headers: dict[str, str]) -> None:
    scope = {"scheme": "http", "client": PROXY}
    assert TRUSTING.base(scope, {"host": "internal:8080", **headers}) == "https://files.example.org/penstock"
    assert TRUSTING.base({**scope, "client": STRANGER}, {"host": "internal:8080", **headers}) == "http://internal:8080"


@pytest.mark.parametrize("client", [STRANGER, None, ("", 0), ("unix:", None), ("fe80::1%eth0", 1)])
def test_others_are_not(client: object) -> None:
    headers = {"host": "internal", "x-forwarded-host": "evil.example", "x-forwarded-proto": "https"}
    assert TRUSTING.base({"scheme": "http", "client": client}, headers) == "http://internal"


def test_a_trusted_proxy_by_an_address_of_the_other_kind() -> None:
    assert TRUSTING.base({"client": ("fd00::1", 1)}, {"x-forwarded-host": "files.example.org"}) == (
        "http://files.example.org"
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-host": "evil.example/path", "x-forwarded-proto": "javascript"},
        {"forwarded": 'host="evil.example"; proto'},
        {"forwarded": "host=a b"},
        {"forwarded": "host=evil.example", "x-forwarded-host": "files.example.org"},
        {"forwarded": "host=evil.example", "x-forwarded-proto": "https"},
        {"x-forwarded-prefix": "//evil.example"},
        {"x-forwarded-prefix": '/"><script>'},
        {"x-forwarded-prefix": "evil"},
    ],
)
def test_what_is_malformed_or_contradicts_itself_does_not_count(headers: dict[str, str]) -> None:
    assert forwarded(headers) == Forwarded("", "", "")
