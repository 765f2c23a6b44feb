"""`penstock step receive`: what it refuses before it starts. That it takes files: `tests/e2e/test_push.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from penstock.errors import ConfigurationError
from penstock.server import receive
from penstock.settings import load_settings
from tests.servers.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def never_listening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive, "serve", lambda *_, **__: pytest.fail("it listens"))
    monkeypatch.setattr(receive, "begin_logging", lambda _: None)
    monkeypatch.setattr(receive, "allow_open_files", lambda: None)


def settings(**given: Any) -> Any:
    return load_settings(environ={}, overrides=given, service="step")


@pytest.mark.parametrize("listen", ["0.0.0.0:8081", "[::]:8081", "192.0.2.1:8081", "worker.example.org:8081"])
def test_it_does_not_listen_to_others_without_a_secret(tmp_path: Path, listen: str) -> None:
    inbox = tmp_path / "in"
    with pytest.raises(ConfigurationError, match="Set PENSTOCK_DELIVERY_PUSH_SECRET"):
        receive.run(settings(delivery_inbox=str(inbox), receive_addr=listen))
    assert not inbox.exists()


def test_without_a_folder_it_tells_how_to_name_one() -> None:
    with pytest.raises(ConfigurationError, match="penstock step receive FOLDER"):
        receive.run(settings())


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    inbox = tmp_path / "file" / "in"
    with pytest.raises(ConfigurationError, match=f"delivery_inbox={inbox}: no files can arrive there: Not a directory"):
        receive.run(settings(delivery_inbox=str(inbox), receive_addr=f"127.0.0.1:{free_port()}"))
