"""What callers rely on in the port."""

from __future__ import annotations

import pytest

from penstock import antivirus
from penstock.antivirus import (
    ScannerProtocolError,
    ScannerUnavailable,
    ScanTimeout,
    SelfTestFailed,
    SourceUnreadable,
)
from penstock.errors import Unavailable

ERRORS = [ScannerUnavailable, SelfTestFailed, ScannerProtocolError, ScanTimeout, SourceUnreadable]


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_may_be_tried_again(error: type[Unavailable]) -> None:
    assert issubclass(error, Unavailable)
    assert error.retryable


def test_every_error_has_a_code_of_its_own() -> None:
    assert len({Unavailable.code, *(error.code for error in ERRORS)}) == len(ERRORS) + 1


def test_the_package_gives_what_it_names() -> None:
    assert all(hasattr(antivirus, name) for name in antivirus.__all__)
