"""`penstock antivirus server|scan|check|quarantine`: the scanner as a service, and for files on this machine."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol

import typer

from ..errors import PenstockError
from . import quarantine
from .exits import Status
from .options import AsJson, ConfigFile, quiet_logs, settings_from
from .show import complain, plain, print_json, print_table, size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..antivirus.base import Scanner
    from ..settings import Settings
    from .transfer.sources import Source

app = typer.Typer(help="The virus scanner.", no_args_is_help=True)
app.add_typer(quarantine.app, name="quarantine")

_COLUMNS: Final = ("file", "size", "verdict", "signature", "seconds", "remark")
_CHECKED: Final = ("", "scanner", "engine", "signatures", "seconds", "found")
_FAILED: Final = "failed"


@app.command()
def server(
    config: ConfigFile = None,
    debug_addr: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where to answer probes.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    log_format: Annotated[str | None, typer.Option(help="auto, text or json.")] = None,
) -> None:
    """Run the scanner by itself, in place of the Go service `antivirus`: same events, same names.

    Any number of instances may share their work. The bytes are fetched from the address in the event while they are
    scanned. SIGTERM and Ctrl-C end it; what it worked on goes to others, or is done after the next start.

    Exit status: 0 ended as asked, 2 a setting is wrong and nothing was started.
    """
    settings = settings_from(config, "antivirus", debug_addr=debug_addr, log_level=log_level, log_format=log_format)
    from ..app import AntivirusService
    from ..server import run_single

    run_single(settings, AntivirusService)


@app.command()
def scan(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Files, and folders of files.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Scan files with the scanner that the settings choose, whatever their size.

    Exit status: 0 all are clean, 1 something was found, 2 something could not be scanned.
    """
    import asyncio

    from .transfer.sources import sources_of

    quiet_logs()
    results = asyncio.run(_scan(settings_from(config), sources_of(paths, recursive=True)))
    if as_json:
        print_json([result.document() for result in results])
    elif results:
        print_table(_COLUMNS, [result.row() for result in results])
    else:
        complain("there are no files.")
    raise typer.Exit(_status(results))


@app.command()
def check(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Put each scanner that the settings choose to the test: is it there, which version, does it find the EICAR file?

    Exit status: 0 all work, 1 one does not.
    """
    import asyncio

    from .scanners import examine

    quiet_logs()
    findings = asyncio.run(examine(settings_from(config)))
    if as_json:
        print_json([finding.document() for finding in findings])
    else:
        print_table(_CHECKED, [finding.row() for finding in findings])
    raise typer.Exit(Status.DONE if all(finding.ok for finding in findings) else Status.NOT_WELL)


@dataclass(slots=True)
class Result:
    """What the scanner said of one file."""

    file: str
    size_bytes: int = 0
    verdict: str = _FAILED
    signature: str = ""
    seconds: float = 0.0
    detail: str = ""
    scanner: str = ""
    engine: str = ""
    database: str = ""
    bytes_scanned: int = 0
    noted: tuple[str, ...] = ()

    def row(self) -> tuple[str, ...]:
        """Return it for people."""
        remarks = [self.detail, f"also noted: {', '.join(self.noted)}" if self.noted else ""]
        remark = "; ".join(filter(None, remarks))
        return (self.file, size(self.size_bytes), self.verdict, self.signature, f"{self.seconds:.1f}", remark)

    def document(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "file": self.file,
            "size": self.size_bytes,
            "verdict": self.verdict,
            "signature": self.signature,
            "seconds": round(self.seconds, 3),
            "detail": self.detail,
            "scanner": self.scanner,
            "engine_version": self.engine,
            "database_version": self.database,
            "bytes_scanned": self.bytes_scanned,
            "noted": list(self.noted),
        }


async def _scan(settings: Settings, sources: Sequence[Source]) -> list[Result]:
    """Scan as many files at a time as the settings say; one that fails does not stop the others."""
    import asyncio

    from ..app import scanner_of
    from ..clock import SystemClock

    results = [Result(source.shown) for source in sources]
    scanner: Scanner
    async with scanner_of(settings, SystemClock()) as scanner:
        await scanner.self_test()
        with _bar(sources) as bar:
            work = iter(zip(sources, results, strict=True))

            async def worker() -> None:
                for source, result in work:
                    bar.began(source)
                    await _scan_one(scanner, settings, source, result)
                    bar.ended(result)

            async with asyncio.TaskGroup() as group:
                for _ in range(min(settings.antivirus_workers, len(sources))):
                    group.create_task(worker())
    return results


async def _scan_one(scanner: Scanner, settings: Settings, source: Source, result: Result) -> None:
    from ..antivirus.base import LocalFile

    try:
        result.size_bytes = source.fingerprint().size_bytes
        report = await scanner.scan(
            LocalFile(source.path), size_bytes=result.size_bytes, timeout=settings.antivirus_scan_timeout
        )
    except PenstockError as error:
        result.detail = str(error)
        return
    result.verdict, result.signature, result.detail = str(report.verdict), report.signature, report.detail
    result.seconds, result.scanner = report.duration.total_seconds(), report.scanner
    result.engine, result.database = report.engine_version, report.database_version
    result.bytes_scanned, result.noted = report.bytes_scanned, report.noted


def _status(results: Sequence[Result]) -> Status:
    verdicts = {result.verdict for result in results}
    if verdicts - {"clean", "infected"} or not results:
        return Status.ERROR
    return Status.NOT_WELL if "infected" in verdicts else Status.DONE


class Bar(Protocol):
    """Where the person who waits sees how it goes."""

    def began(self, source: Source) -> None:
        """A file is being scanned."""

    def ended(self, result: Result) -> None:
        """A file is through."""


@contextmanager
def _bar(sources: Sequence[Source]) -> Iterator[Bar]:
    """Show how much is scanned: a scanner says nothing while it works, so the bar moves by whole files."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.completed}/{task.total} files"), TimeElapsedColumn())
    described = TextColumn("{task.description}", markup=False)
    with Progress(*columns, described, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(sources))

        class _Shown:
            def began(self, source: Source) -> None:
                progress.update(task, description=plain(source.shown))

            def ended(self, result: Result) -> None:
                if result.verdict != "clean" and console.is_terminal:
                    progress.console.print(
                        f"{plain(result.file)}: {result.verdict} {plain(result.signature)}", markup=False
                    )
                progress.advance(task)

        yield _Shown()
