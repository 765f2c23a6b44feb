"""`penstock antivirus server|scan|check|quarantine`: the scanner as a service, and for files on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from . import complete, quarantine
from .exits import Status
from .options import AsJson, ConfigFile, DebugAddress, LogFormat, LogLevel, quiet_logs, settings_from
from .show import complain, print_json, print_table

app = typer.Typer(help="The virus scanner.", no_args_is_help=True)
app.add_typer(quarantine.app, name="quarantine")

_CHECKED: Final = ("", "scanner", "engine", "signatures", "seconds", "found")

ScannerNames: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--scanner",
        metavar="NAME,…",
        help="yara, clamav or icap, or several with commas; else the setting ANTIVIRUS_SCANNER_TYPE, else yara.",
        autocompletion=complete.scanners,
    ),
]


@app.command()
def server(
    config: ConfigFile = None,
    debug_addr: DebugAddress = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Run the scanner by itself, in place of the Go service `antivirus`: same events, same names.

    Any number of instances may share their work. The bytes are fetched from the address in the event while they are
    scanned. SIGTERM and Ctrl-C end it; what it worked on goes to others, or is done after the next start.

    Exit status: 0 ended as asked, 2 a setting is wrong and nothing was started.
    """
    settings = settings_from(config, "antivirus", debug_addr=debug_addr, log_level=log_level, log_format=log_format)
    from ..app.antivirus import AntivirusService
    from ..server.single import run_single

    run_single(settings, AntivirusService)


@app.command()
def scan(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH…", help="Files, and folders of files; - is standard input.")
    ],
    scanner: ScannerNames = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Scan files on this machine. No server is needed, and nothing is done to the files.

    The scanner is the one that `penstock serve` would use with the same settings, up to the sizes that it looks at.
    By default that is `yara` with a rule for the EICAR test file, which finds nothing else. What becomes of infected
    files, and the size from which files are not to be scanned, are settings for uploads: here everything is scanned.

    Exit status: 0 all are clean, 1 something was found, 2 something could not be scanned.
    """
    import asyncio

    from .scanning import COLUMNS, ONLY_EICAR, knows_only_eicar, scan_all, status_of

    quiet_logs()
    settings = settings_from(config, antivirus_scanner=scanner)
    if knows_only_eicar(settings):
        complain(ONLY_EICAR)
    results = asyncio.run(scan_all(settings, paths))
    if as_json:
        print_json([result.document() for result in results])
    elif results:
        print_table(COLUMNS, [result.row() for result in results])
    else:
        complain("there are no files.")
    raise typer.Exit(status_of(results))


@app.command()
def check(scanner: ScannerNames = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Put each scanner to the test: is it there, which version, does it find the EICAR file, up to its largest size?

    Exit status: 0 all work, 1 one does not.
    """
    import asyncio

    from .scanners import examine
    from .scanning import ONLY_EICAR, knows_only_eicar

    quiet_logs()
    settings = settings_from(config, antivirus_scanner=scanner)
    if knows_only_eicar(settings):
        complain(ONLY_EICAR)
    findings = asyncio.run(examine(settings))
    if as_json:
        print_json([finding.document() for finding in findings])
    else:
        print_table(_CHECKED, [finding.row() for finding in findings])
    raise typer.Exit(Status.DONE if all(finding.ok for finding in findings) else Status.NOT_WELL)
