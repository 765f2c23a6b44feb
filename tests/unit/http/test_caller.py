from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from penstock.http.caller import Callers
from penstock.uploads.errors import BadHeader

PROXY: dict[str, Any] = {"client": ("10.0.0.7", 1234)}
CALLERS = Callers("X-User", [ip_network("10.0.0.0/8")])


def test_a_trusted_proxy_names_the_user() -> None:
    assert CALLERS.owner(PROXY, {"x-user": " alice "}) == "alice"
    assert CALLERS.owner(PROXY, {"x-user": "zoë".encode().decode("latin-1")}) == "zoë"
    assert CALLERS.owner(PROXY, {"x-user": "zo\xeb"}) == "zoë"
    assert CALLERS.owner(PROXY, {}) == ""


@pytest.mark.parametrize("client", [("192.0.2.1", 1), ("nonsense", 1), None])
def test_others_name_nobody(client: object) -> None:
    assert CALLERS.owner({"client": client}, {"x-user": "alice"}) == ""


def test_without_a_setting_nobody_does() -> None:
    assert Callers("", [ip_network("10.0.0.0/8")]).owner(PROXY, {"": "alice", "x-user": "alice"}) == ""


@pytest.mark.parametrize("name", ["a\tb", "x" * 201])
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(BadHeader, match="cannot be a user"):
        CALLERS.owner(PROXY, {"x-user": name})
