"""Which kind of database a URL means."""

from __future__ import annotations

import sys

import pytest
from sqlalchemy import make_url

from penstock.db import postgres, sqlite
from penstock.db.kind import kind_of
from penstock.errors import ConfigurationError


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("sqlite:///x.db", sqlite.KIND),
        ("postgresql://h/d", postgres.KIND),
        ("postgres://h/d", postgres.KIND),
        ("postgresql+psycopg://h/d", postgres.KIND),
    ],
)
def test_the_begin_of_a_url_says_which_kind_it_is(url: str, kind: object) -> None:
    assert kind_of(make_url(url), "d") is kind


def test_another_kind_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="database d: this kind is not supported"):
        kind_of(make_url("mysql://h/d"), "d")


def test_a_driver_that_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "penstock.db.postgres")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'penstock\[postgres\]'"):
        kind_of(make_url("postgresql://h/d"), "d")
