"""What the settings say about steps, and what is wrong with it, in words that name the setting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from penstock.app.policy import policy_of
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
