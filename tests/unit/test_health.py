"""The result of a look at something."""

from __future__ import annotations

import pytest

from penstock.health import Check


def test_a_check_stops_nobody_unless_it_says_so() -> None:
    check = Check("clamd", ok=False)
    assert not check.gates
    assert (check.detail, check.hint) == ("", "")


def test_a_check_cannot_be_changed_and_equals_its_like() -> None:
    check = Check("clamd", ok=True)
    with pytest.raises(AttributeError):
        check.ok = False  # type: ignore[misc]
    assert check == Check("clamd", ok=True)
    assert check != Check("clamd", ok=True, gates=True)
