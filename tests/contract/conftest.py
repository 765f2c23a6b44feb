"""Shows what an assertion of a contract suite compared, as in the tests here."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    "penstock.testing.bus_contract", "penstock.testing.scanner_contract", "penstock.testing.store_contract"
)
