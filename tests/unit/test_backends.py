"""The table of choices."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from penstock import backends
from penstock.errors import ConfigurationError


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, row in backends.TABLE.items() for name in row])
def test_every_choice_is_there(kind: str, name: str) -> None:
    assert isinstance(backends.load(kind, name), type)
    assert name in backends.names(kind)


def test_kinds_and_names_are_in_alphabetical_order() -> None:
    assert list(backends.TABLE) == sorted(backends.TABLE)
    for row in backends.TABLE.values():
        assert list(row) == sorted(row)


def test_an_unknown_choice_names_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"memory, .*noop, ocmem"):
        backends.load("store", "redsi")


def test_a_missing_module_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backends.TABLE["store"], "future", backends.Backend("not_installed_here:Store", "future"))
    with pytest.raises(ConfigurationError, match=r"pip install 'penstock\[future\]'"):
        backends.load("store", "future")


def test_a_deprecated_choice_works_and_warns_what_to_use_instead() -> None:
    with capture_logs() as lines:
        assert backends.load("store", "ocmem").__name__ == "BoundedMemoryStore"
        backends.load("store", "memory")
    assert [(line["log_level"], line["event"], line["name"]) for line in lines] == [
        ("warning", "backend_deprecated", "ocmem")
    ]
    assert lines[0]["hint"].startswith("use memory")


def test_what_a_deprecated_choice_names_is_there() -> None:
    """Every store that the Go services' own text calls deprecated, and no other."""
    marked = {name for name, backend in backends.TABLE["store"].items() if backend.deprecated}
    assert marked == {"etcd", "nats-js", "ocmem", "redis"} & set(backends.TABLE["store"])
