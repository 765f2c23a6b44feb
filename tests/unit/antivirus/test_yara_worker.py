"""What the worker process does, tried in this process; how it lives and dies is in `yara/`."""

from __future__ import annotations

import gc
import itertools
import os
import random
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import yara_x
from hypothesis import given
from hypothesis import strategies as st

from penstock.antivirus import yara_worker
from penstock.antivirus.eicar import eicar
from penstock.antivirus.yara.scanner import BUILT_IN_RULES
from penstock.antivirus.yara_worker import OVERLAP_BYTES, WINDOW_BYTES, InvalidRules, compile_rules, scan

if TYPE_CHECKING:
    from collections.abc import Iterator

BUILT_IN = [str(path) for path in sorted(BUILT_IN_RULES.glob("*.yar"))]


@pytest.fixture(autouse=True)
def collect() -> Iterator[None]:
    """A compiler must be freed by its own thread; the error of a rule keeps it until the next collection."""
    yield
    gc.collect()


@contextmanager
def open_file(data: bytes, size_bytes: int | None = None) -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.truncate(len(data) if size_bytes is None else size_bytes)
        file.flush()
        yield file.fileno()


def built_in() -> yara_x.Scanner:
    return scanner_of(compile_rules([], BUILT_IN)[0])


def scanner_of(rules: yara_x.Rules) -> yara_x.Scanner:
    scanner = yara_x.Scanner(rules)
    scanner.fast_scan(True)
    return scanner


def write_rules(folder: Path, **sources: str) -> list[str]:
    paths = [folder / f"{name}.yar" for name in sources]
    for path, source in zip(paths, sources.values(), strict=True):
        path.write_text(source)
    return [str(path) for path in paths]


@given(before=st.integers(0, 2000), behind=st.integers(0, 2000))
def test_eicar_is_found_wherever_windows_begin_and_end(before: int, behind: int) -> None:
    data = bytes(before) + eicar() + bytes(behind)
    with pytest.MonkeyPatch.context() as patch, open_file(data) as fd:
        patch.setattr(yara_worker, "WINDOW_BYTES", 256)
        patch.setattr(yara_worker, "OVERLAP_BYTES", 67)  # one less than its length: the least that is enough
        answer = scan(built_in(), fd, len(data), in_windows=True)
    assert answer == {"matches": [("EICAR_Test_File", "")], "bytes_scanned": len(data)}


@given(size_bytes=st.integers(0, 3000))
def test_windows_cover_every_byte_once_but_for_the_overlap(size_bytes: int) -> None:
    seen: list[tuple[int, int]] = []
    pread = os.pread

    def watch(fd: int, wanted: int, start: int) -> bytes:
        seen.append((start, start + wanted))
        return pread(fd, wanted, start)

    with pytest.MonkeyPatch.context() as patch, open_file(bytes(size_bytes)) as fd:
        patch.setattr(yara_worker, "WINDOW_BYTES", 256)
        patch.setattr(yara_worker, "OVERLAP_BYTES", 67)
        patch.setattr(os, "pread", watch)
        scan(built_in(), fd, size_bytes, in_windows=True)
    assert seen[0][0] == 0
    assert seen[-1][1] == size_bytes
    assert all(behind[0] == before[1] - 67 for before, behind in itertools.pairwise(seen))
    assert all(end - start <= 256 for start, end in seen)


@pytest.mark.parametrize("place", [-69, -68, -34, -1, 0, 1 - OVERLAP_BYTES, -OVERLAP_BYTES, -OVERLAP_BYTES - 1])
@pytest.mark.parametrize("in_windows", [True, False])
def test_eicar_is_found_at_the_real_borders(place: int, *, in_windows: bool) -> None:
    data = bytes(WINDOW_BYTES + place) + eicar()
    with open_file(data, 2 * WINDOW_BYTES + 5) as fd:
        answer = scan(built_in(), fd, 2 * WINDOW_BYTES + 5, in_windows=in_windows)
    assert answer["matches"] == [("EICAR_Test_File", "")]


def test_eicar_is_found_behind_four_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a file that takes no room; what comes before is zeros, which are not read and looked at two thousand times."""
    size_bytes = 4097 * 1024**2
    scanner, zeros, read = built_in(), bytes(WINDOW_BYTES), yara_worker._read
    nothing = scanner.scan(zeros)

    class Once:
        def scan(self, window: bytes) -> yara_x.ScanResults:
            return nothing if window is zeros else scanner.scan(window)

    def skip(fd: int, wanted: int, start: int) -> bytes:
        return zeros if start + wanted < 2**32 else read(fd, wanted, start)

    monkeypatch.setattr(yara_worker, "_read", skip)
    with open_file(b"", size_bytes) as fd:
        os.pwrite(fd, eicar(), size_bytes - len(eicar()))
        answer = scan(cast("yara_x.Scanner", Once()), fd, size_bytes, in_windows=True)
    assert answer == {"matches": [("EICAR_Test_File", "")], "bytes_scanned": size_bytes}


def test_the_built_in_rules_look_only_for_patterns() -> None:
    """Windows are right for rules that do not care where in a file they are; see the note in the rule file."""
    text = "".join(Path(path).read_text() for path in BUILT_IN)
    code = text.partition("*/")[2]
    assert not any(word in code for word in ("filesize", "import", "entrypoint", " at ", " in ", "#", "@", "private"))
    assert len(eicar()) <= OVERLAP_BYTES


def test_rules_of_ones_own_see_a_large_file_as_a_whole(tmp_path: Path) -> None:
    paths = write_rules(
        tmp_path,
        own=f"""
        rule Whole {{
            strings: $start = "here it begins" $end = "here it ends"
            condition: $start at 0 and $end at {3 * WINDOW_BYTES} and filesize > {3 * WINDOW_BYTES}
        }}""",
    )
    rules, _ = compile_rules(paths, BUILT_IN)
    data = b"here it begins".ljust(3 * WINDOW_BYTES, b"\0") + b"here it ends"
    with open_file(data) as fd:
        answer = scan(scanner_of(rules), fd, len(data), in_windows=False)
    assert answer == {"matches": [("Whole", "")], "bytes_scanned": len(data)}


def test_an_empty_file_is_scanned_too(tmp_path: Path) -> None:
    rules, _ = compile_rules(write_rules(tmp_path, own="rule Empty { condition: filesize == 0 }"), BUILT_IN)
    with open_file(b"") as fd:
        assert scan(scanner_of(rules), fd, 0, in_windows=False) == {"matches": [("Empty", "")], "bytes_scanned": 0}


@pytest.mark.parametrize("size_bytes", [10, 3 * WINDOW_BYTES])
@pytest.mark.parametrize("in_windows", [True, False])
@pytest.mark.parametrize("difference", [-1, 1])
def test_a_file_of_another_size_is_no_result(size_bytes: int, difference: int, *, in_windows: bool) -> None:
    with open_file(b"", size_bytes + difference) as fd:
        answer = scan(built_in(), fd, size_bytes, in_windows=in_windows)
    assert answer.keys() == {"unreadable"}


def test_a_file_that_cannot_be_read_is_no_result() -> None:
    with tempfile.TemporaryFile(mode="wb") as file:
        answer = scan(built_in(), os.open(f"/proc/self/fd/{file.fileno()}", os.O_WRONLY), 1, in_windows=True)
    assert "Bad file descriptor" in answer["unreadable"]


def test_the_same_names_in_two_files_do_not_clash(tmp_path: Path) -> None:
    paths = write_rules(tmp_path, one="rule Same { condition: true }", two="rule Same { condition: false }")
    rules, described = compile_rules(paths, BUILT_IN)
    assert described["rules"] == 3
    with open_file(b"x") as fd:
        assert scan(scanner_of(rules), fd, 1, in_windows=False)["matches"] == [("Same", "")]


def test_private_rules_are_not_reported(tmp_path: Path) -> None:
    source = "private rule Inner { condition: true } rule Outer { condition: Inner }"
    rules, _ = compile_rules(write_rules(tmp_path, own=source), BUILT_IN)
    with open_file(b"x") as fd:
        assert scan(scanner_of(rules), fd, 1, in_windows=False)["matches"] == [("Outer", "")]


def test_the_version_tells_what_the_rules_are_not_where(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    included = write_rules(tmp_path, part="rule Part { condition: false }")
    one = write_rules(tmp_path / "a", own='include "../part.yar"')
    other = write_rules(tmp_path / "b", moved='include "../part.yar"')
    version = compile_rules(one, BUILT_IN)[1]["database"]
    assert compile_rules(other, BUILT_IN)[1]["database"] == version
    Path(included[0]).write_text("rule Part { condition: true }")
    assert compile_rules(one, BUILT_IN)[1]["database"] != version


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("rule A { condition: true }\nrule B {\n  condition: nothing\n}", "3: unknown identifier `nothing`"),
        ("rule A {", "1: syntax error"),
        ('rule A {\n strings: $a = "x"\n condition: true\n}', "2: unused pattern `$a`"),
        ('\n\ninclude "none.yar"', "3: include file not found"),
        ("rule A { condition: a } rule B { condition: b }", "(1 more in this file)"),
        ('import "no_such_module" rule A { condition: true }', "1: unknown module `no_such_module`"),
    ],
)
def test_a_rule_that_does_not_compile_is_named_with_its_line(tmp_path: Path, source: str, said: str) -> None:
    paths = write_rules(tmp_path, good="rule Good { condition: true }", bad=source)
    with pytest.raises(InvalidRules) as error:
        compile_rules(paths, BUILT_IN)
    assert str(error.value).startswith(f"{tmp_path}/bad.yar:")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_an_error_in_an_included_file_names_that_file(tmp_path: Path) -> None:
    paths = write_rules(tmp_path, own='rule A { condition: true }\ninclude "part.inc"')
    (tmp_path / "part.inc").write_text("\n\nrule Part { condition: nothing }")
    with pytest.raises(InvalidRules, match=r"part\.inc:3: unknown identifier"):
        compile_rules(paths, BUILT_IN)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "latin.yar").write_bytes("rule A { condition: true } // ö".encode("latin-1"))
    for name, said in (("none.yar", "No such file"), ("latin.yar", "not UTF-8 at byte 30"), ("", "Is a directory")):
        with pytest.raises(InvalidRules, match=said) as error:
            compile_rules([str(tmp_path / name)], BUILT_IN)
        assert str(error.value).startswith(str(tmp_path / name))


def test_random_bytes_are_clean() -> None:
    data = random.Random(1).randbytes(2 * WINDOW_BYTES + 3)
    with open_file(data) as fd:
        assert scan(built_in(), fd, len(data), in_windows=True) == {"matches": [], "bytes_scanned": len(data)}
