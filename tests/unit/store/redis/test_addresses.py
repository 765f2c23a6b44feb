"""Nodes of a Redis, as operators of the Go services have written them."""

from __future__ import annotations

import pytest

from penstock.errors import ConfigurationError
from penstock.store.redis.addresses import Address, sentinels, server


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("127.0.0.1:6379", Address("127.0.0.1", 6379)),
        ("redis.example.test:16379", Address("redis.example.test", 16379)),
        ("redis.example.test", Address("redis.example.test", 6379)),
        ("[::1]:6380", Address("::1", 6380)),
        ("redis://redis.example.test", Address("redis.example.test", 6379)),
        ("redis://redis.example.test:1/2", Address("redis.example.test", 1, db=2)),
        ("redis://h:1?db=2", Address("h", 1, db=2)),
        ("redis://:s3cret@h:1/0", Address("h", 1, password="s3cret")),
        ("rediss://user:p%40ss%2F@h:1/3", Address("h", 1, db=3, username="user", password="p@ss/", tls=True)),
        ("rediss://h:1?skip_verify=true", Address("h", 1, tls=True, verify=False)),
        ("redis://h:1?dial_timeout=5s&pool_size=10", Address("h", 1)),
    ],
)
def test_a_server_is_a_host_and_port_or_a_url(node: str, expected: Address) -> None:
    assert server([node]) == expected
    assert expected.name == (f"[{expected.host}]" if ":" in expected.host else expected.host) + f":{expected.port}"


@pytest.mark.parametrize(
    ("node", "why"),
    [
        ("h:port", "Port could not be cast"),
        ("h:99999", "Port out of range"),
        (":6379", "no host"),
        ("", "no host"),
        ("http://h:1", "scheme is 'http'"),
        ("unix:///run/redis.sock", "scheme is 'unix'"),
        ("redis://h:1/uploads", "invalid literal"),
        ("redis://h:1?maser=x", "unknown options: maser"),
        ("redis://h:1?db", "bad query field"),
    ],
)
def test_what_is_spelled_otherwise_is_refused(node: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why) as raised:
        server([node])
    assert repr(node) in str(raised.value)


@pytest.mark.parametrize("nodes", [[], ["a:1", "b:2"]])
def test_one_server_is_one(nodes: list[str]) -> None:
    with pytest.raises(ConfigurationError, match=f"takes one node and got {len(nodes)}.*redis-sentinel"):
        server(nodes)


def test_passwords_are_in_no_message() -> None:
    for node in ("redis://user:s3cret@h:port", "redis://user:s3/cret@h:1?x=y", "user:s3cret@h:x"):
        with pytest.raises(ConfigurationError) as raised:
            server([node])
        assert "s3" not in f"{raised.value} {raised.value.__cause__}"
    assert "s3cret" not in repr(server(["redis://user:s3cret@h"]))


def test_sentinels_name_their_master() -> None:
    assert sentinels(["10.10.0.200:26379/mymaster"]) == ("mymaster", [Address("10.10.0.200", 26379)])
    assert sentinels(["a/m", "b:1/m", "redis://:pw@c:2/m"]) == (
        "m",
        [Address("a", 26379), Address("b", 1), Address("c", 2, password="pw")],
    )


@pytest.mark.parametrize("node", ["10.10.0.200:26379", "10.10.0.200:26379/", "/mymaster", "redis://h:1"])
def test_a_sentinel_without_a_master_is_refused(node: str) -> None:
    """A Go service panics at the first event."""
    with pytest.raises(ConfigurationError, match=r"does not name the master.*10.10.0.200:26379/mymaster"):
        sentinels(["h:1/m", node])


@pytest.mark.parametrize(("nodes", "named"), [(["a:1/m", "b:1/n"], "m, n"), ([], "no")])
def test_sentinels_of_different_masters_are_refused(nodes: list[str], named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"name {named} as the master"):
        sentinels(nodes)
