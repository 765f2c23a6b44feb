"""Finding rule files."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.antivirus.yara.rules import RulesInvalid, find_rules
from penstock.errors import ConfigurationError


def test_files_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one.txt", "set/b.yara", "set/a.yar", "set/deep/c.yar", "set/README.md", "set/d.yar.bak"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "set/folder.yar").mkdir()
    monkeypatch.chdir(tmp_path)
    found = find_rules([Path("one.txt"), Path("set")])
    assert found == [str(tmp_path / name) for name in ("one.txt", "set/a.yar", "set/b.yara", "set/deep/c.yar")]


def test_none_wanted() -> None:
    assert find_rules([]) == []


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/rule.txt").touch()
    for name, reason in (("none.yar", "no such file"), ("empty", "no YARA rule in this folder")):
        with pytest.raises(RulesInvalid, match=reason) as error:
            find_rules([tmp_path / name])
        assert str(error.value).startswith(str(tmp_path / name))
        assert isinstance(error.value, ConfigurationError)
