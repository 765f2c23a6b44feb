"""`penstock files`: what was released, by space and path, at a running server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from ..errors import InvalidRequest
from . import complete
from .exits import Status
from .options import AsJson, ConfigFile, ServerUrl, server_url
from .show import complain, moment, print_json, print_table, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import BinaryIO

app = typer.Typer(help="List, read, move and delete released files, and their versions.", no_args_is_help=True)

_COLUMNS: Final = ("path", "size", "type", "released", "version", "phase")

FilePath: TypeAlias = Annotated[
    str, typer.Argument(metavar="PATH", help="The file's path in its space.", autocompletion=complete.paths)
]
Space: TypeAlias = Annotated[
    str, typer.Option("--space", metavar="NAME", help="The space.", autocompletion=complete.spaces)
]
Version: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--version", metavar="ID", help="This version, and not the present one.", autocompletion=complete.versions
    ),
]
ToPath: TypeAlias = Annotated[str, typer.Argument(metavar="TO", help="Its new path.", autocompletion=complete.paths)]
ToSpace: TypeAlias = Annotated[
    str | None,
    typer.Option("--to-space", metavar="NAME", help="Its new space; else the same.", autocompletion=complete.spaces),
]
Overwrite: TypeAlias = Annotated[
    bool, typer.Option("--overwrite", help="There may be a file: it becomes an older version.")
]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command("list")
def list_files(
    *,
    prefix: Annotated[
        str, typer.Argument(metavar="[FOLDER/]", help="What the paths begin with.", autocompletion=complete.paths)
    ] = "",
    space: Space = "default",
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="What lies in folders as well.")] = False,
    url: ServerUrl = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List files and folders, in the order of their paths."""
    from .api import Api

    delimiter = "" if recursive else "/"
    files: list[dict[str, Any]] = []
    folders: list[str] = []
    cursor: str | None = None
    with Api(server_url(url, config)) as api:
        while True:
            page = api.get("/paths", space=space, prefix=prefix, delimiter=delimiter, limit=1000, cursor=cursor)
            files += page["files"]
            folders += page["folders"]
            cursor = page["next"]
            if cursor is None:
                break
    if as_json:
        print_json({"files": files, "folders": folders})
    elif files or folders:
        print_table(_COLUMNS, [*((folder, "", "", "", "", "") for folder in folders), *map(_row, files)])
    else:
        complain("no files.")


@app.command()
def spaces(url: ServerUrl = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the spaces in which there are files."""
    from .api import Api

    with Api(server_url(url, config)) as api:
        found = api.pages("/paths/spaces", "spaces")
    if as_json:
        print_json(found)
    elif found:
        print_table(("space",), [(str(space),) for space in found])
    else:
        complain("no files.")


@app.command()
def stat(
    path: FilePath,
    space: Space = "default",
    version: Version = None,
    url: ServerUrl = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show one file, or one version of it."""
    from .api import Api

    with Api(server_url(url, config)) as api:
        _show([api.get("/paths/stat", space=space, path=path, version=version)], as_json=as_json, single=True)


@app.command()
def get(
    path: FilePath,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to, or into which folder; `-`: standard output."),
    ] = None,
    space: Space = "default",
    version: Version = None,
    url: ServerUrl = None,
    config: ConfigFile = None,
) -> None:
    """Read a file, into one of its name unless --output says where. A file that is there is not replaced.

    What breaks off goes on from there.
    """
    from ..uploads.protocols.names import checked_name
    from .api import Api
    from .transfer.boards import bar_for

    with Api(server_url(url, config)) as api:
        found = api.get("/paths/stat", space=space, path=path, version=version)
        target = output or Path()
        if target.is_dir():
            target /= checked_name(found["name"])  # whatever the server may call it
        with bar_for(found["name"], found["size"]) as came:
            pieces = _counted(api.content(found["content"]), came)
            try:
                if str(output) == "-":
                    sys.stdout.buffer.writelines(pieces)
                    sys.stdout.buffer.flush()
                    return
                with target.open("xb") as file:
                    _write(pieces, file, target)
            except FileExistsError as error:
                raise InvalidRequest(f"{target} is there already. Name another file with --output.") from error
            except BrokenPipeError:
                raise  # who reads it has had enough
            except OSError as error:
                where = "standard output" if str(output) == "-" else target
                raise InvalidRequest(
                    f"{where} cannot be written: {error.strerror}. Name another file with --output."
                ) from error


@app.command()
def versions(
    path: FilePath, space: Space = "default", url: ServerUrl = None, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """List the versions of a file, the present one first."""
    from .api import Api

    with Api(server_url(url, config)) as api:
        _show(api.pages("/paths/versions", "versions", space=space, path=path), as_json=as_json)


@app.command()
def restore(
    path: FilePath,
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="Its ID, as `versions` lists it.", autocompletion=complete.versions)
    ],
    space: Space = "default",
    url: ServerUrl = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Have an older version be the present one again; the others stay."""
    from .api import Api

    with Api(server_url(url, config)) as api:
        restored = api.post("/paths/restore", space=space, path=path, version=version)
    _show([restored], as_json=as_json, single=True)


@app.command()
def move(
    *,
    path: FilePath,
    to_path: ToPath,
    space: Space = "default",
    to_space: ToSpace = None,
    overwrite: Overwrite = False,
    url: ServerUrl = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Move or rename a file, with all its versions."""
    from .api import Api

    with Api(server_url(url, config)) as api:
        moved = api.post("/paths/move", space=space, path=path, to_space=to_space, to_path=to_path, overwrite=overwrite)
    _show([moved], as_json=as_json, single=True)


@app.command()
def copy(
    *,
    path: FilePath,
    to_path: ToPath,
    space: Space = "default",
    to_space: ToSpace = None,
    overwrite: Overwrite = False,
    url: ServerUrl = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Upload a file's present version to another path, where all steps run for it; or to its own, as a new version."""
    from .api import Api

    with Api(server_url(url, config)) as api:
        upload = api.post(
            "/paths/copy", space=space, path=path, to_space=to_space, to_path=to_path, overwrite=overwrite
        )
    if as_json:
        print_json(upload)
    else:
        print_table(("upload id", "path", "phase"), [(upload["id"], upload["path"], upload["phase"])])


@app.command()
def delete(
    *,
    path: FilePath,
    space: Space = "default",
    version: Version = None,
    yes: Yes = False,
    url: ServerUrl = None,
    config: ConfigFile = None,
) -> None:
    """Delete a file with all its versions, for good, and cancel what is in processing there; or one version.

    Exit status: 0 deleted, 1 somebody said no, 2 there is no such file.
    """
    from .api import Api

    if not yes:
        if not sys.stdin.isatty():
            raise InvalidRequest("nobody can be asked here whether to delete it. Add --yes.")
        what = path if version is None else f"version {version} of {path}"
        if not typer.confirm(f"Delete {what} for good?", err=True):
            complain("nothing was deleted.")
            raise typer.Exit(Status.NOT_WELL)
    with Api(server_url(url, config)) as api:
        api.delete("/paths", space=space, path=path, version=version)


def _counted(pieces: Iterable[bytes], came: Callable[[int], None]) -> Iterator[bytes]:
    for piece in pieces:
        came(len(piece))
        yield piece


def _write(pieces: Iterable[bytes], file: BinaryIO, target: Path) -> None:
    """Write a file, or none: nobody is to take what was cut off for the whole."""
    try:
        file.writelines(pieces)
    except BaseException:
        target.unlink()
        raise


def _show(files: Sequence[dict[str, Any]], *, as_json: bool, single: bool = False) -> None:
    if as_json:
        print_json(files[0] if single else list(files))
    else:
        print_table(_COLUMNS, [_row(file) for file in files])


def _row(file: dict[str, Any]) -> tuple[str, ...]:
    return (
        file["path"],
        size(file["size"]),
        file["media_type"],
        moment(file["modified_at"]),
        file["version"],
        file["phase"],
    )
