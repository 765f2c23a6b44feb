from __future__ import annotations

from pathlib import Path

import pytest

from penstock.settings.allowances import LimitWords

KIND = LimitWords()
HERE = Path()


def test_limits_are_sizes_and_numbers() -> None:
    found = KIND.from_text("quota=100GiB, max_size=5GB,max_unfinished=20,max_receiving=0", HERE)
    assert found == {"quota": 100 * 1024**3, "max_size": 5_000_000_000, "max_unfinished": 20, "max_receiving": 0}
    assert KIND.show(found) == "quota=100GiB,max_size=5GB,max_unfinished=20,max_receiving=0"
    assert KIND.from_text("", HERE) == {}


def test_a_table_will_do_in_toml() -> None:
    assert KIND.from_toml({"quota": "1MiB", "max_unfinished": 3}, HERE) == {"quota": 1024**2, "max_unfinished": 3}
    assert KIND.from_toml("quota=7", HERE) == {"quota": 7}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("quota", r"'quota' is not name=limit\. Write it like"),
        ("quota=1,quota=2", "listed twice"),
        ("qouta=1", r"no such limit here\. Did you mean quota\?"),
        ("xyz=1", r"no such limit here\. Write some of max_size, quota, max_unfinished"),
        ("quota=1.5GB", r"quota=1\.5GB: not a size"),
        ("max_unfinished=many", "max_unfinished=many: not a whole number from 0"),
    ],
)
def test_a_wrong_one_is_told_with_the_way_out(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        KIND.from_text(text, HERE)


def test_a_wrong_value_in_a_table_is_told() -> None:
    with pytest.raises(ValueError, match="'quota' must be a number, or text in quotes"):
        KIND.from_toml({"quota": ["1"]}, HERE)
