from __future__ import annotations

from pathlib import Path

import pytest

from penstock.settings import Service
from penstock.settings.table import table
from tests.unit.cli.conftest import Penstock


def test_every_setting_is_there_with_where_it_came_from(
    penstock: Penstock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "penstock.toml").write_text("workers = 7\n")
    monkeypatch.setenv("OC_LOG_LEVEL", "warn")
    shown = {one["name"]: one for one in penstock("config", "--json").json}
    assert list(shown) == list(table(Service.SERVE))
    assert (shown["workers"]["value"], shown["workers"]["origin"]) == ("7", f"{tmp_path}/penstock.toml: workers")
    assert (shown["log_level"]["value"], shown["log_level"]["origin"]) == ("warning", "environment: OC_LOG_LEVEL")
    assert (shown["steps"]["value"], shown["steps"]["origin"]) == ("virusscan", "default")
    assert shown["steps"]["other_variables"] == ["POSTPROCESSING_STEPS", "POSTPROCESSING_VIRUSSCAN"]
    text = penstock("config").out
    assert all(name in text for name in table(Service.SERVE))


def test_those_of_one_service(penstock: Penstock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTPROCESSING_STORE", "redis")
    monkeypatch.setenv("OCIS_EVENTS_AUTH_PASSWORD", "xyzzy")
    ended = penstock("config", "--service", "postprocessing", "--json")
    shown = {one["name"]: one for one in ended.json}
    assert list(shown) == list(table(Service.POSTPROCESSING))
    assert (shown["store"]["value"], shown["store"]["default"]) == ("redis", "nats-js-kv")
    assert shown["debug_addr"]["other_variables"] == ["POSTPROCESSING_DEBUG_ADDR"]
    password = shown["events_auth_password"]
    assert (password["value"], password["origin"]) == ("***", "environment: OCIS_EVENTS_AUTH_PASSWORD")
    assert "xyzzy" not in ended.out + penstock("config", "--service", "postprocessing").out


def test_only_what_was_changed(penstock: Penstock, monkeypatch: pytest.MonkeyPatch) -> None:
    assert penstock("config", "--changed", "--json").json == []
    monkeypatch.setenv("PENSTOCK_WORKERS", "3")  # said, though it is what it would be anyway
    assert [one["name"] for one in penstock("config", "--changed", "--json").json] == ["workers"]


def test_the_defaults_whatever_is_set(penstock: Penstock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_WORKERS", "nonsense")
    shown = penstock("config", "--defaults", "--json")
    assert shown.status == 0
    assert all(one["value"] == one["default"] for one in shown.json)
    assert all(one["origin"] == "default" for one in shown.json)


def test_a_password_in_an_address_is_masked(penstock: Penstock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_URL", "https://me:xyzzy@uploads.example.org")
    for ended in (penstock("config"), penstock("config", "--json")):
        assert "https://***@uploads.example.org" in ended.out
        assert "xyzzy" not in ended.out


def test_warnings_are_told(penstock: Penstock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTPROCESSING_VIRUSSCAN", "true")
    assert penstock("config").err.startswith("penstock: POSTPROCESSING_VIRUSSCAN is deprecated.")


def test_all_that_is_wrong_is_told_a_line_each(penstock: Penstock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTPROCESSING_DELAY", "5")
    monkeypatch.setenv("PENSTOCK_WORKER", "5")
    ended = penstock("config")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.splitlines() == [
        (
            "penstock: POSTPROCESSING_DELAY=5 (environment): a number without a unit. "
            "Write a number with a unit, such as 5s or 1m30s."
        ),
        "penstock: PENSTOCK_WORKER (environment): there is no such setting. Did you mean PENSTOCK_WORKERS?",
    ]


def test_a_file_that_is_not_there_is_told(penstock: Penstock) -> None:
    ended = penstock("config", "--config", "nothing.toml")
    assert ended.status == 2
    assert "nothing.toml (--config): cannot be read" in ended.err


def test_the_rules_for_steps_are_told_in_words(penstock: Penstock, tmp_path: Path) -> None:
    (tmp_path / "penstock.toml").write_text('[[step_rules]]\nextension = "jpg"\nsteps = ["virusscan"]\n')
    assert "step rule 1: extension 'jpg' → virusscan\n" in penstock("config").out


def test_a_rule_that_is_wrong_is_told(penstock: Penstock, tmp_path: Path) -> None:
    (tmp_path / "penstock.toml").write_text("[[step_rules]]\nextension = 7\n")
    ended = penstock("config")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.splitlines() == [
        (
            f"penstock: step_rules ({tmp_path}/penstock.toml: step_rules): rule 1: "
            "steps is missing. Write steps = [] where none shall run."
        ),
        (
            f"penstock: step_rules ({tmp_path}/penstock.toml: step_rules): rule 1: "
            "extension must be text in quotes, or an array of them."
        ),
    ]
