"""The one table of settings: name, kind, default, meaning, and the names that the Go services have for the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from .entries import Entry, OtherName, entries, platform, setting
from .kinds import Choice, Flag, Text, Whole, Words
from .measures import Duration, Durations, Seconds, Size, SizeLimit, TimeLimit
from .origins import Origin, Source
from .places import Address, Folder, Listen, Paths, WebAddress

_SERVER, _UPLOADS, _STEPS, _SCANNER = "Server", "Uploads", "Postprocessing", "Virus scanner"
_MOMENT = timedelta(milliseconds=1)

_LOG_LEVELS = Choice(
    ("debug", "info", "warning", "error"),
    {"trace": "debug", "warn": "warning", "fatal": "error", "panic": "error"},
)


def _pretty(_before: str, pretty: bool) -> str:
    return "text" if pretty else "json"


def _with_virusscan(steps: tuple[str, ...], wanted: bool) -> tuple[str, ...]:
    without = tuple(step for step in steps if step != "virusscan")
    if not wanted:
        return without
    return steps if "virusscan" in steps else (*steps, "virusscan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every choice of the operator, checked. `load_settings` makes it; the fields' defaults are the real ones."""

    data_dir: Path = setting(
        Folder(),
        "penstock-data",
        "Folder that holds everything: bytes on their way in, released files, the database. Back this up.",
        group=_SERVER,
    )
    http_addr: Address = setting(
        Listen(),
        "127.0.0.1:8080",
        "Where the server listens. There is no login yet: whoever reaches it may use it.",
        group=_SERVER,
    )
    public_url: str | None = setting(
        WebAddress(),
        "",
        "The server's address as clients see it, for a server behind a proxy. Empty: what each request names.",
        group=_SERVER,
    )
    url: str | None = setting(
        WebAddress(),
        "",
        "Where the commands find the server. Empty: at `http_addr` on this machine.",
        group=_SERVER,
    )
    grace_period: timedelta = setting(
        Duration(),
        "10s",
        "How long the server may take to end after SIGTERM. What is not done by then goes on after the next start.",
        group=_SERVER,
    )
    log_level: str = setting(
        _LOG_LEVELS,
        "info",
        "The least important messages that are logged.",
        *platform("LOG_LEVEL"),
        "POSTPROCESSING_LOG_LEVEL",
        group=_SERVER,
    )
    log_format: str = setting(
        Choice(("auto", "text", "json")),
        "auto",
        "How messages are logged: for people, for machines, or as fits where they go (a terminal or elsewhere).",
        *(OtherName(name, Flag(), _pretty) for name in (*platform("LOG_PRETTY"), "POSTPROCESSING_LOG_PRETTY")),
        group=_SERVER,
    )

    max_size_bytes: int | None = setting(
        SizeLimit(),
        "0",
        "The largest file that is accepted. A larger one is refused before its bytes are read.",
        group=_UPLOADS,
    )
    upload_expiration: timedelta = setting(
        Duration(least=_MOMENT),
        "24h",
        "How long an upload may take from its creation to its last byte. What is late is removed.",
        OtherName("STORAGE_USERS_UPLOAD_EXPIRATION", Seconds()),
        group=_UPLOADS,
    )
    retention: timedelta = setting(
        Duration(),
        "168h",
        "How long deleted, cancelled and expired uploads stay in the list.",
        group=_UPLOADS,
    )

    steps: tuple[str, ...] = setting(
        Words(),
        "virusscan",
        "The steps that every upload goes through, in order. Empty: files are released as soon as they have arrived.",
        "POSTPROCESSING_STEPS",
        OtherName(
            "POSTPROCESSING_VIRUSSCAN",
            Flag(),
            _with_virusscan,
            deprecated=True,
            instead="List virusscan in POSTPROCESSING_STEPS, or leave it out there.",
        ),
        group=_STEPS,
    )
    step_files: tuple[Path, ...] = setting(
        Paths(),
        "",
        "Python files with steps of your own, which the server then runs itself.",
        group=_STEPS,
    )
    delay: timedelta = setting(
        Duration(),
        "0s",
        "How long the step `delay` waits. Where it is not among the steps, a delay above 0 makes it the last one.",
        "POSTPROCESSING_DELAY",
        group=_STEPS,
    )
    max_retries: int = setting(
        Whole(),
        "14",
        "How often a step may ask to be tried again. One more time, and the upload is rejected.",
        "POSTPROCESSING_MAX_RETRIES",
        group=_STEPS,
    )
    retry_backoff: timedelta = setting(
        Duration(least=_MOMENT),
        "5s",
        "The pause before the first retry; it doubles with each further one.",
        "POSTPROCESSING_RETRY_BACKOFF_DURATION",
        group=_STEPS,
    )
    step_timeout: Mapping[str, timedelta] = setting(
        Durations(),
        "",
        "For each step named here: how long it may go without an answer or a sign of life before it is tried again.",
        "POSTPROCESSING_STEP_TIMEOUT",
        group=_STEPS,
    )
    stalled_after: timedelta = setting(
        Duration(least=_MOMENT),
        "10m",
        "How long a step may go without an answer or a sign of life before its upload is shown as stalled.",
        group=_STEPS,
    )
    reconcile_interval: timedelta = setting(
        Duration(least=_MOMENT),
        "1m",
        "How often what is saved is compared with what should be happening.",
        group=_STEPS,
    )
    store: str = setting(
        Choice(("sqlite", "memory", "noop"), {"mem": "memory"}, group="penstock.store"),
        "sqlite",
        "Where the progress of uploads is kept: in the data folder, in memory (lost at the end), or not at all.",
        *platform("PERSISTENT_STORE"),
        "POSTPROCESSING_STORE",
        group=_STEPS,
    )
    workers: int = setting(
        Whole(least=1, most=1000),
        "3",
        "How many events are handled at the same time.",
        "POSTPROCESSING_WORKERS",
        group=_STEPS,
    )

    antivirus_scanner: str = setting(
        Choice(("yara", "clamav"), group="penstock.scanner"),
        "yara",
        "What the step `virusscan` scans with: rules inside of this process, or a clamd.",
        "ANTIVIRUS_SCANNER_TYPE",
        group=_SCANNER,
    )
    antivirus_workers: int = setting(
        Whole(least=1, most=1000),
        "10",
        "How many files are scanned at the same time.",
        "ANTIVIRUS_WORKERS",
        group=_SCANNER,
    )
    antivirus_infected_file_handling: str = setting(
        Choice(("delete", "abort", "continue")),
        "delete",
        "What happens to an infected file: its bytes are removed, or kept unreadable, or it is released all the same.",
        "ANTIVIRUS_INFECTED_FILE_HANDLING",
        group=_SCANNER,
    )
    antivirus_max_scan_size_bytes: int | None = setting(
        SizeLimit(),
        "0",
        "Files above this size are treated as the next setting says.",
        "ANTIVIRUS_MAX_SCAN_SIZE",
        group=_SCANNER,
    )
    antivirus_max_scan_size_mode: str = setting(
        Choice(("partial", "skip", "reject")),
        "partial",
        "Whether a file above the limit is scanned up to it, goes on without a scan, or is rejected.",
        "ANTIVIRUS_MAX_SCAN_SIZE_MODE",
        group=_SCANNER,
    )
    antivirus_scan_timeout: timedelta | None = setting(
        TimeLimit(),
        "0",
        "How long the scan of one file may take. 0: 60 s and 1 s more for every 20 MB.",
        "ANTIVIRUS_CLAMAV_SCAN_TIMEOUT",
        group=_SCANNER,
    )
    antivirus_clamav_socket: str = setting(
        Text(),
        "/run/clamav/clamd.ctl",
        "Where clamd listens: a path, or `tcp://host:port`.",
        "ANTIVIRUS_CLAMAV_SOCKET",
        group=_SCANNER,
    )
    # clamd.conf(5) says 100M for both (ClamAV 1.0 and later), but the clamd.conf that Debian's package writes says 25M.
    # Too low a value rejects files that clamd could scan; too high a one would pass files that it did not look at.
    antivirus_clamav_max_file_size_bytes: int = setting(
        Size(),
        "25MiB",
        "The lower of clamd's own MaxFileSize and MaxScanSize, which it does not tell. It does not look at larger "
        "files. The default is that of Debian's clamd.conf; ClamAV's own is 100 MiB.",
        group=_SCANNER,
    )
    antivirus_clamav_stream_max_length_bytes: int = setting(
        Size(),
        "25MiB",
        "clamd's own StreamMaxLength, which it does not tell. It takes no larger stream. The default is that of "
        "Debian's clamd.conf; ClamAV's own is 100 MiB.",
        group=_SCANNER,
    )
    antivirus_yara_rules: tuple[Path, ...] = setting(
        Paths(),
        "",
        "Your YARA rules: files, and folders whose `.yar` and `.yara` files are taken, at any depth. The rule that "
        "comes with Penstock is used as well; alone, as by default, it knows the EICAR test file and nothing else.",
        group=_SCANNER,
    )

    origins: Mapping[str, Origin] = field(default_factory=dict, compare=False)
    """Where each value came from, by the setting's name."""
    warnings: tuple[str, ...] = field(default=(), compare=False)
    """What the operator should know although it works: old names, names that are probably misspelt."""


def table() -> Mapping[str, Entry]:
    """Return the settings by their name, in the order of this file."""
    return entries(Settings)


def default_settings() -> Settings:
    """Return what holds when nobody says anything; relative paths stay relative."""
    return Settings(origins={name: Origin(Source.DEFAULT) for name in table()})
