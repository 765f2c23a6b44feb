"""Where a store is, as it may be shown."""

from __future__ import annotations

import pytest

from penstock.store.target import StoreTarget, without_login


@pytest.mark.parametrize(
    ("node", "shown"),
    [
        ("127.0.0.1:6379", "127.0.0.1:6379"),
        ("redis://h:1/2", "redis://h:1/2"),
        ("redis://user:s3cret@h:1/2", "redis://…@h:1/2"),
        ("redis://user:s3/c@ret@h:1/2", "redis://…@h:1/2"),
        ("user:s3cret@h:1/mymaster", "…@h:1/mymaster"),
    ],
)
def test_a_password_in_a_node_is_not_shown(node: str, shown: str) -> None:
    assert without_login(node) == shown
    assert repr(StoreTarget(nodes=(node,), username="u", password="pw")) == (
        f"StoreTarget({shown}, database='postprocessing', table='')"
    )
