from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import penstock
from penstock.errors import InvalidRequest
from penstock.testing.eventually import eventually
from tests.unit.cli.conftest import Penstock
from tests.unit.cli.fake_server import FakeServer

VERSION = f"penstock {penstock.__version__}\n"


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_it(*_: object) -> None:
        raise error

    monkeypatch.setattr("penstock.cli.options.server_url", raise_it)
    monkeypatch.setattr("penstock.cli.postprocessing.desk_of", raise_it)


def test_the_version(penstock: Penstock) -> None:
    assert penstock("--version").out == VERSION


def test_the_version_is_told_without_loading_anything() -> None:
    code = """
import sys
sys.argv[1:] = ["--version"]
from penstock.cli import main
main()
print(sorted({"typer", "rich", "httpx", "asyncio", "msgspec"} & set(sys.modules)))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240)
    assert ended.stdout == VERSION + "[]\n"


def test_help_names_every_group(penstock: Penstock) -> None:
    shown = penstock("--help").out
    for group in ("serve", "upload", "uploads", "storage-users", "postprocessing", "antivirus", "config", "doctor"):
        assert f"│ {group} " in shown


@pytest.mark.parametrize(
    "command",
    [
        *(["serve"], ["upload"], ["config"], ["doctor"], ["antivirus", "scan"]),
        *(["uploads", "sessions"], ["storage-users", "uploads", "sessions"]),
        *(["postprocessing", "list"], ["postprocessing", "resume"], ["postprocessing", "restart"]),
    ],
    ids=" ".join,
)
def test_every_command_explains_itself(penstock: Penstock, command: list[str]) -> None:
    shown = penstock(*command, "-h")
    assert shown.status == 0
    assert "Exit status" in shown.out or command[-1] == "list"


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["upload"], ["upload", "--nonsense", "x"], ["uploads", "sessions", "x"]]
)
def test_wrong_usage_is_status_2(penstock: Penstock, arguments: list[str]) -> None:
    ended = penstock(*arguments)
    assert (ended.status, ended.out) == (2, "")
    assert "Usage" in ended.err


def test_an_error_is_a_line_for_each_thing_that_is_wrong(penstock: Penstock, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(InvalidRequest("one thing\nanother thing"), monkeypatch)
    ended = penstock("postprocessing", "list")
    assert (ended.status, ended.out, ended.err) == (2, "", "penstock: one thing\npenstock: another thing\n")


def test_errors_of_tasks_are_told_once_each(penstock: Penstock, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = ExceptionGroup("", [InvalidRequest("same"), InvalidRequest("same"), InvalidRequest("other")])
    fail_with(ExceptionGroup("", [inner]), monkeypatch)
    ended = penstock("postprocessing", "list")
    assert (ended.status, ended.err) == (2, "penstock: same\npenstock: other\n")


BUGS = [KeyError("x"), ExceptionGroup("", [InvalidRequest("fine"), KeyError("x")])]


@pytest.mark.parametrize("error", BUGS, ids=["single", "group"])
def test_a_bug_is_a_line_on_a_terminal_and_its_story_is_kept(
    penstock: Penstock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fail_with(error, monkeypatch)
    ended = penstock("postprocessing", "list")
    assert ended.status == 2
    (story,) = tmp_path.glob("penstock-*.txt")
    assert ended.err.startswith("penstock: this should not happen: ")
    assert ended.err.endswith(f"{story}\n")
    assert ended.err.count("\n") == 1
    assert "Traceback" in story.read_text()
    assert "KeyError: 'x'" in story.read_text()


@pytest.mark.parametrize("error", BUGS, ids=["single", "group"])
def test_a_bug_has_its_story_in_a_log(penstock: Penstock, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    fail_with(error, monkeypatch)
    ended = penstock("postprocessing", "list")
    assert ended.status == 2
    assert "KeyError: 'x'" in ended.err
    assert ended.err.splitlines()[-1].startswith("penstock: this should not happen: ")


async def test_ctrl_c_ends_tidily_and_says_how_to_go_on(server: FakeServer, tmp_path: Path) -> None:
    server.received = lambda upload: None
    file = tmp_path / "file.bin"
    file.write_bytes(b"x" * 1000)
    # Whoever runs the tests may have them started with Ctrl-C ignored, which programs inherit.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from penstock.cli import main; main()"
    )
    command = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, "upload", "--wait", "--url", server.url, str(file)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"XDG_STATE_HOME": str(tmp_path / "state")},
    )
    try:
        await eventually(lambda: len(server.asked("GET", "/api/v1/uploads/")) > 0, timeout_seconds=60)
        command.send_signal(signal.SIGINT)
        async with asyncio.timeout(60):
            out, err = await command.communicate()
    finally:
        if command.returncode is None:
            command.kill()
            await command.wait()
    assert (command.returncode, out) == (130, b"")
    assert err == b"penstock: interrupted. Run the same command again to go on where it stopped.\n"
    assert len(list((tmp_path / "state" / "penstock" / "uploads").iterdir())) == 1


def test_a_pipe_that_ends_early_is_no_accident() -> None:
    command = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m penstock config --defaults --json | head -n 1"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (command.stdout, command.stderr) == ("[\n", "")
