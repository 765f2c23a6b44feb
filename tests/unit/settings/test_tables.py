from __future__ import annotations

from pathlib import Path

import pytest

from penstock.settings import WrongSettings, load_settings
from penstock.settings.tables import Tables, Written

KIND = Tables("step_rules")
TOML = '[[step_rules]]\nspace = "a"\nsteps = []\n[[step_rules]]\nsteps = ["x"]\n'
TABLES = ({"space": "a", "steps": []}, {"steps": ["x"]})


def test_they_are_in_a_file_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(TOML)
    settings = load_settings(environ={"PENSTOCK_STEP_RULES": "rules.toml"}, folder=tmp_path)
    assert settings.step_rules == Written(TABLES, path)
    assert KIND.show(settings.step_rules) == str(path)
    assert KIND.from_text(KIND.show(settings.step_rules), Path()) == settings.step_rules


def test_they_are_in_our_own_file(tmp_path: Path) -> None:
    (tmp_path / "penstock.toml").write_text(TOML)
    settings = load_settings(environ={}, folder=tmp_path)
    assert settings.step_rules == Written(TABLES)
    assert KIND.show(settings.step_rules) == "2 tables"


def test_our_own_file_may_name_the_other_one(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "rules.toml").write_text(TOML)
    (tmp_path / "etc" / "p.toml").write_text('step_rules = "rules.toml"\n')
    settings = load_settings(config=Path("etc/p.toml"), environ={}, folder=tmp_path)
    assert settings.step_rules.tables == TABLES


def test_nothing_is_none(tmp_path: Path) -> None:
    assert KIND.from_text(" ", tmp_path) == Written()
    assert KIND.show(Written()) == ""


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read: No such file or directory. Name a file that can."),
        ("a = [", "not TOML: "),
        ("[[rules]]\nsteps = []\n", "has 'rules' in it. Begin each table with [[step_rules]]."),
        ("[step_rules]\nsteps = []\n", "must be an array of tables. Begin each with [[step_rules]]."),
        ('step_rules = ["a"]\n', "must be an array of tables. Begin each with [[step_rules]]."),
    ],
)
def test_what_is_wrong_with_the_file_is_told(tmp_path: Path, content: str | None, complaint: str) -> None:
    if content is not None:
        (tmp_path / "rules.toml").write_text(content)
    with pytest.raises(WrongSettings) as caught:
        load_settings(environ={"PENSTOCK_STEP_RULES": "rules.toml"}, folder=tmp_path)
    assert str(caught.value).startswith(f"PENSTOCK_STEP_RULES=rules.toml (environment): {complaint}")


def test_without_asynchronous_uploads_there_are_no_rules_either(tmp_path: Path) -> None:
    (tmp_path / "penstock.toml").write_text(TOML + "[serve]\nasync_uploads = false\n")
    assert load_settings(environ={}, folder=tmp_path).step_rules == Written()
