"""What is said of a store before it is opened."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from penstock.app.opening import store_of
from penstock.app.policy import policy_of
from penstock.settings import load_settings


@pytest.mark.parametrize(("steps", "warned"), [("virusscan", True), ("", False)])
def test_that_nothing_with_a_step_ends_without_a_store_is_told_at_start(
    tmp_path: Path, steps: str, *, warned: bool
) -> None:
    """Row 16 of the weaknesses: with `noop`, the Go service begins such uploads and leaves them, without a word."""
    environ = {"OCIS_PERSISTENT_STORE": "noop", "POSTPROCESSING_STEPS": steps}
    settings = load_settings(environ=environ, folder=tmp_path)
    with capture_logs() as logs:
        store_of(settings, policy_of(settings))
    assert [line["event"] for line in logs] == ["store_noop_with_steps"] * warned
