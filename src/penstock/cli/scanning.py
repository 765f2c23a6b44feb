"""What `penstock antivirus scan` does: scans files of this machine, without a server."""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..errors import InvalidRequest, PenstockError
from .exits import Status
from .show import plain, size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..antivirus.base import Scanner
    from ..settings import Settings
    from .transfer.sources import Source

COLUMNS: Final = ("file", "size", "verdict", "signature", "seconds", "remark")
STANDARD_INPUT: Final = Path("-")
_FAILED: Final = "failed"


def knows_only_eicar(settings: Settings) -> bool:
    """Tell whether all that is scanned with is the rule that comes with Penstock."""
    return settings.antivirus_scanner == ("yara",) and not settings.antivirus_yara_rules


ONLY_EICAR: Final = (
    "only the EICAR test file would be found, by the rule that comes with Penstock. Give rules of your own "
    "(PENSTOCK_ANTIVIRUS_YARA_RULES), or another scanner (--scanner clamav, or ANTIVIRUS_SCANNER_TYPE)."
)


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


async def scan_all(settings: Settings, paths: Sequence[Path]) -> list[Result]:
    """Scan as many files at a time as the settings say; one that fails does not stop the others.

    Raises:
        PenstockError: the scanner cannot be used at all.
    """
    from .transfer.sources import sources_of

    failed: list[Result] = []

    def fail(path: str, error: InvalidRequest) -> None:
        failed.append(Result(path, detail=str(error)))

    with _standard_input(settings, wanted=STANDARD_INPUT in paths) as given:
        named = [path for path in paths if path != STANDARD_INPUT]
        sources = [*given, *sources_of(named, recursive=True, passed_over=fail)]
        scanned = await _scan(settings, sources) if sources else []
    return scanned + failed


@contextmanager
def _standard_input(settings: Settings, *, wanted: bool) -> Iterator[list[Source]]:
    """Keep standard input in a file without a name: scanners want to know how many bytes will come."""
    from .transfer.sources import Source

    if not wanted:
        yield []
        return
    with tempfile.TemporaryFile(dir=settings.delivery_temp_dir) as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        yield [Source(Path(f"/proc/self/fd/{file.fileno()}"), "-")]


async def _scan(settings: Settings, sources: Sequence[Source]) -> list[Result]:
    import asyncio

    from ..app.scanner import scanner_of
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


def status_of(results: Sequence[Result]) -> Status:
    """Return the exit status: what could not be scanned outweighs what was found."""
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
