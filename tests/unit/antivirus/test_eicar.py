"""The test file, which must not lie around in our own files."""

from __future__ import annotations

import hashlib
import marshal
import os
from collections.abc import Iterator
from pathlib import Path

from penstock.antivirus.eicar import eicar

ROOT = Path(__file__).parents[3]


def test_it_is_the_official_file() -> None:
    assert len(eicar()) == 68
    assert hashlib.sha256(eicar()).hexdigest() == "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f"


def ours() -> Iterator[Path]:
    """Yield our files and what was compiled from them, but not what others are just compiling, nor their packages."""
    for top in ("src", "tests", "docs"):
        for folder, inner, names in os.walk(ROOT / top):
            inner[:] = [name for name in inner if name != "node_modules"]
            compiled = Path(folder).name == "__pycache__"
            yield from (Path(folder, name) for name in names if not compiled or name.endswith(".pyc"))


def test_none_of_our_files_is_the_test_file() -> None:
    files = list(ours())
    assert Path(__file__) in files
    assert [path for path in files if eicar() in path.read_bytes()] == []


def test_what_python_compiles_from_our_files_is_not_the_test_file() -> None:
    """The compiler joins constants, so that a string cut in two in the source may be whole again in its cache."""
    source = ROOT / "src/penstock/antivirus/eicar.py"
    assert eicar() not in marshal.dumps(compile(source.read_bytes(), source, "exec"))
