"""The tree of errors, as all modules together make it."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest

import penstock
from penstock.errors import ConfigurationError, InvalidRequest, NotFound, PenstockError, Unavailable

# Alembic runs these itself, with a database in its hands; the others are commands, or not part of the product.
NOT_IMPORTED = re.compile(r"\.(__main__|migrations|testing)(\.|$)")


def descendants(kind: type[PenstockError]) -> Iterator[type[PenstockError]]:
    for child in kind.__subclasses__():
        yield child
        yield from descendants(child)


@pytest.fixture(scope="module")
def all_errors() -> list[type[PenstockError]]:
    for module in pkgutil.walk_packages(penstock.__path__, "penstock."):
        if not NOT_IMPORTED.search(module.name):
            importlib.import_module(module.name)
    # Classes that tests made are not the product's.
    found: list[type[PenstockError]] = [PenstockError, *descendants(PenstockError)]
    return [kind for kind in found if kind.__module__.startswith("penstock.")]


def test_each_code_is_given_once(all_errors: list[type[PenstockError]]) -> None:
    # A class without a code of its own is a case of its parent that callers need not tell apart.
    owners: dict[str, set[str]] = {}
    for kind in all_errors:
        if "code" in vars(kind):
            owners.setdefault(kind.code, set()).add(f"{kind.__module__}.{kind.__qualname__}")
    assert len(owners) > 20
    assert {code: kinds for code, kinds in owners.items() if len(kinds) > 1} == {}


def test_codes_are_words_with_hyphens(all_errors: list[type[PenstockError]]) -> None:
    assert [kind.code for kind in all_errors if not re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", kind.code)] == []


def test_each_error_says_what_it_means(all_errors: list[type[PenstockError]]) -> None:
    assert [kind.__qualname__ for kind in all_errors if not kind.__doc__] == []


def test_what_nobody_but_the_caller_can_mend_is_not_worth_trying_again(all_errors: list[type[PenstockError]]) -> None:
    wrong = [kind for kind in all_errors if issubclass(kind, (ConfigurationError, InvalidRequest)) and kind.retryable]
    assert wrong == []


def test_what_is_away_is_worth_trying_again(all_errors: list[type[PenstockError]]) -> None:
    assert [kind for kind in all_errors if issubclass(kind, Unavailable) and not kind.retryable] == []


def test_the_message_is_the_text_of_the_error() -> None:
    error = NotFound("upload 1: there is no such upload")
    assert str(error) == "upload 1: there is no such upload"
    assert isinstance(error, InvalidRequest)
