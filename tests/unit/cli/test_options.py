from __future__ import annotations

from pathlib import Path

import pytest

from penstock.cli.options import server_url, settings_from
from penstock.settings import WrongSettings

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.mark.parametrize(
    ("listens", "url"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("0.0.0.0:9000", "http://127.0.0.1:9000"),
        (":9000", "http://127.0.0.1:9000"),
        ("[::]:9000", "http://[::1]:9000"),
        ("[::1]:9000", "http://[::1]:9000"),
        ("uploads.example.org:80", "http://uploads.example.org:80"),
    ],
)
def test_the_server_is_where_it_listens(monkeypatch: pytest.MonkeyPatch, listens: str, url: str) -> None:
    monkeypatch.setenv("PENSTOCK_HTTP_ADDR", listens)
    assert server_url(None) == url


def test_what_is_said_wins_over_what_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_HTTP_ADDR", "127.0.0.1:1")
    monkeypatch.setenv("PENSTOCK_URL", "https://uploads.example.org/")
    assert server_url(None) == "https://uploads.example.org"
    assert server_url("http://127.0.0.1:2") == "http://127.0.0.1:2"


def test_what_is_no_address_is_told() -> None:
    with pytest.raises(WrongSettings, match=r"--url localhost \(command line\): not a web address"):
        server_url("localhost")


def test_settings_come_from_the_file_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("workers = 7\n")
    assert settings_from(Path("other.toml")).workers == 7
    assert settings_from(Path("other.toml"), log_level="debug", data_dir=None).log_level == "debug"
