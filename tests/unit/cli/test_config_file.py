"""Every command that asks a server finds it by the settings file that the server was started with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import typer.main

from penstock.cli.main import build

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.cli.conftest import Penstock
    from tests.unit.cli.fake_server import FakeServer

ALSO = {
    ("doctor",): ["--json"],
    ("uploads", "gc"): ["--dry-run"],
    ("files", "delete"): ["--yes"],
    ("antivirus", "quarantine", "delete"): ["--yes"],
}


def asking(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if path == ("storage-users",):
        return  # the same commands by another name
    for name, below in getattr(command, "commands", {}).items():
        yield from asking(below, (*path, name))
    if any("--url" in one.opts for one in command.params):
        yield path, command


COMMANDS = dict(asking(typer.main.get_command(build())))


def arguments(command: Any, file: Path) -> Iterator[str]:
    for one in command.params:
        if one.required:
            yield from [*(one.opts[:1] if one.param_type_name == "option" else []), str(file)]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_server_that_a_file_names_is_asked(
    penstock: Penstock, server: FakeServer, tmp_path: Path, path: tuple[str, ...]
) -> None:
    settings, file = tmp_path / "here.toml", tmp_path / "file"
    settings.write_text(f'url = "{server.url}"\ndata_dir = "{tmp_path}"\n')
    file.write_bytes(b"x")
    ended = penstock(*path, *arguments(COMMANDS[path], file), *ALSO.get(path, []), "--config", settings)
    assert server.requests, ended.err


def test_so_is_the_one_that_listens_where_the_file_says(penstock: Penstock, server: FakeServer, tmp_path: Path) -> None:
    settings = tmp_path / "here.toml"
    settings.write_text(f'http_addr = "127.0.0.1:{server.port}"\n')
    penstock("files", "spaces", "--config", settings)
    assert server.requests
