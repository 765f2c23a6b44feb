"""Names that are ours, and those that somebody only has point here."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from penstock.http.hosts import Hosts

STRANGERS = [
    "evil.example",
    "evil.example:8080",
    "localhost.evil.example",
    "127.0.0.1.nip.io",
    "[::1",
    "a b",
    "@x",
    "\x80",
]


@pytest.mark.parametrize("listens", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
@pytest.mark.parametrize("host", STRANGERS)
def test_a_server_for_one_machine_answers_to_no_other_name(listens: str, host: str) -> None:
    hosts = Hosts(listens)
    assert not hosts.answers(host, None)
    assert not hosts.answers(host, None), "nor when it is asked again"


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "LocalHost.:8080",
        "a.localhost",
        "127.0.0.1:1",
        "[::1]:1",
        "[::1]",
        "192.0.2.7",
        "[2001:db8::1]:80",
    ],
)
def test_nobody_can_have_these_point_elsewhere(host: str) -> None:
    assert Hosts("127.0.0.1", ["files.example.org"]).answers(host, None)


@pytest.mark.parametrize("listens", ["0.0.0.0", "::", "192.0.2.7", "penstock.lab.example"])
def test_a_server_for_others_has_whatever_name_they_know_it_by(listens: str) -> None:
    assert Hosts(listens).answers("anything.example", None)


def test_unless_the_operator_has_named_it() -> None:
    hosts = Hosts("0.0.0.0", ["files.example.org"], ["https://Public.example:8443/x", None])
    assert hosts.answers("Files.Example.org:8080", None)
    assert hosts.answers("public.example", None)
    assert not hosts.answers("evil.example", None)


def test_the_operator_may_let_all_in() -> None:
    assert Hosts("127.0.0.1", ["*"]).answers("evil.example", None)


def test_the_names_in_addresses_are_ours() -> None:
    hosts = Hosts("127.0.0.1", urls=["https://files.example.org", "http://penstock:8080"])
    assert hosts.answers("files.example.org", None)
    assert hosts.answers("penstock:8080", None)
    assert not hosts.answers("evil.example", None)


def test_a_trusted_proxy_has_looked_itself() -> None:
    hosts = Hosts("127.0.0.1", trusted_proxies=[ip_network("127.0.0.2/32")])
    assert hosts.answers("files.example.org", ("127.0.0.2", 1))
    assert not hosts.answers("files.example.org", ("127.0.0.1", 1))


def test_not_every_name_is_remembered() -> None:
    hosts = Hosts("127.0.0.1")
    for number in range(1000):
        assert not hosts.answers(f"{number}.example", None)
    assert hosts.answers("localhost", None)
