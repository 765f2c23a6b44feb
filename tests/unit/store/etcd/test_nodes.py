from __future__ import annotations

import pytest

from penstock.errors import ConfigurationError
from penstock.store.etcd.nodes import login_of, urls_of
from penstock.store.target import StoreTarget


def test_nodes_are_urls_and_tls_is_for_those_that_do_not_say() -> None:
    assert urls_of(StoreTarget(nodes=())) == ("http://127.0.0.1:2379",)
    assert urls_of(StoreTarget(nodes=("a:1", "https://b:2/"), tls=True)) == ("https://a:1", "https://b:2")
    assert urls_of(StoreTarget(nodes=("[::1]:2379",))) == ("http://[::1]:2379",)


def test_a_login_in_an_address_is_used_and_not_shown() -> None:
    """Addresses are in messages and in the log."""
    target = StoreTarget(nodes=("a:1", "http://root:p%40ss@b:2"))
    assert urls_of(target) == ("http://a:1", "http://b:2")
    assert login_of(target) == ("root", "p@ss")
    assert login_of(StoreTarget(nodes=target.nodes, username="other", password="word")) == ("other", "word")
    assert login_of(StoreTarget(nodes=("a:1",))) == ("", "")


@pytest.mark.parametrize(
    "node", ["http://u:secret@[::1", "ftp://u:secret@a:1", "http://u:secret@a:x", "http://u:secret@"]
)
def test_what_is_no_address_is_refused_without_a_word_of_its_password(node: str) -> None:
    with pytest.raises(ConfigurationError, match="Write host:port") as raised:
        urls_of(StoreTarget(nodes=(node,)))
    assert "secret" not in str(raised.value)
