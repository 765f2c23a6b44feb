from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from penstock.errors import ConfigurationError
from penstock.jetstream import NatsServers


def test_endpoints_become_urls_with_a_port() -> None:
    servers = NatsServers(("127.0.0.1:9233", "nats.example", " nats://a:1 ", "tls://b", "[::1]:4"))
    assert servers.urls == (
        "nats://127.0.0.1:9233",
        "nats://nats.example:4222",
        "nats://a:1",
        "tls://b:4222",
        "nats://[::1]:4",
    )


@pytest.mark.parametrize("endpoint", ["", ":4222", "host:port", "http://host:1", "host:1/path", "host:99999"])
def test_what_is_no_address_is_named(endpoint: str) -> None:
    with pytest.raises(ConfigurationError, match=r"Write host:port") as caught:
        NatsServers(("127.0.0.1:9233", endpoint))
    assert endpoint.rpartition("://")[2] in str(caught.value)


def test_no_endpoint_at_all_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no NATS endpoint"):
        NatsServers(())


def test_passwords_are_shown_nowhere() -> None:
    servers = NatsServers(("nats://user:hunter2@a:1",), username="u", password="hunter3")
    assert "hunter" not in str(servers)
    assert "hunter3" not in repr(servers)
    with pytest.raises(ConfigurationError) as caught:
        NatsServers(("nats://user:hunter2@a:port",))
    assert "hunter2" not in str(caught.value)


def test_messages_tell_which_servers_are_meant() -> None:
    assert str(NatsServers(("a:1", "b:2"), setting="store_nodes")) == "a:1, b:2 (store_nodes)"
    assert str(NatsServers(("a:1",))) == "a:1"


def test_without_tls_there_is_no_context() -> None:
    assert NatsServers(("a",)).ssl_context() is None
    assert not NatsServers(("a",), tls_insecure=True).wants_tls


def test_tls_is_verified_and_not_older_than_1_2() -> None:
    for servers in (NatsServers(("a",), tls=True), NatsServers(("tls://a",))):
        context = servers.ssl_context()
        assert context is not None
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_insecure_believes_anybody() -> None:
    context = NatsServers(("a",), tls=True, tls_insecure=True).ssl_context()
    assert context is not None
    assert context.verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_root_certificate_that_cannot_be_used_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigurationError, match=r"ca\.pem"):
        NatsServers(("a",), tls=True, tls_ca_file=file).ssl_context()
