"""What the settings say about steps, and what is wrong with it, in words that name the setting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from penstock.app.policy import check_handlers, policy_of
from penstock.errors import ConfigurationError
from penstock.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path


def test_a_step_that_is_listed_twice_is_told_with_where_it_is_written(tmp_path: Path) -> None:
    settings = load_settings(environ={"POSTPROCESSING_STEPS": "virusscan,ocr,ocr"}, folder=tmp_path)
    with pytest.raises(ConfigurationError) as error:
        policy_of(settings)
    assert str(error.value) == (
        "steps=virusscan,ocr,ocr (environment: POSTPROCESSING_STEPS): step 'ocr' is listed twice; name each step once."
    )


def test_a_step_of_another_process_needs_a_bus_that_reaches_it(tmp_path: Path) -> None:
    settings = load_settings(environ={"POSTPROCESSING_STEPS": "ocr"}, folder=tmp_path)
    with pytest.raises(ConfigurationError, match=r"'ocr'\. .* set PENSTOCK_BUS=nats if it runs in a"):
        check_handlers(settings, ())


@pytest.mark.parametrize("bus", ["local", "nats"])
def test_a_way_for_a_step_that_there_is_not_is_told(tmp_path: Path, bus: str) -> None:
    environ = {
        "PENSTOCK_BUS": bus,
        "POSTPROCESSING_STEPS": "virusscan",
        "PENSTOCK_DELIVERY": "virusscan=pull,virusscna=pull",
    }
    with capture_logs() as logs:
        check_handlers(load_settings(environ=environ, folder=tmp_path), ())
    assert [(line["event"], line["step"]) for line in logs] == [("delivery_is_not_used", "virusscna")]
