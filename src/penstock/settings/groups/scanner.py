"""Settings of the virus scanner."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from ..entries import setting
from ..kinds import Choice, Choices, Flag, Text, Whole, Words
from ..measures import Duration, Size, SizeLimit, TimeLimit
from ..places import File, Paths, Webhook
from ..services import SCANNING, Service

_GROUP = "Virus scanner"


@dataclass(frozen=True, kw_only=True)
class ScannerSettings:
    """What files are scanned with, and what follows."""

    antivirus_scanner: tuple[str, ...] = setting(
        Choices(Choice(("yara", "clamav", "icap"), group="penstock.scanner")),
        "yara",
        "What the step `virusscan` scans with: rules in processes of our own, a clamd, an ICAP server, or several at "
        "the same time.",
        "ANTIVIRUS_SCANNER_TYPE",
        group=_GROUP,
        services=SCANNING,
        defaults={Service.ANTIVIRUS: "clamav"},
    )
    antivirus_scanner_agreement: str = setting(
        Choice(("all", "any")),
        "all",
        "With several scanners, `all` must say clean. With `any` the first find decides, and one that cannot look at a "
        "file (too large, encrypted) is made up for by another that can. A scanner that fails is waited for in both.",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_workers: int = setting(
        Whole(least=1, most=1000),
        "10",
        "How many files are scanned at the same time.",
        "ANTIVIRUS_WORKERS",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_infected_file_handling: str = setting(
        Choice(("delete", "abort", "continue", "quarantine")),
        "delete",
        "What happens to an infected file: its bytes are removed, or kept unreadable, or it is released all the same. "
        "`quarantine`, of `penstock serve`: kept aside until somebody releases or removes it, see `penstock antivirus "
        "quarantine`; to the storage of the Go services it is the same as `abort`.",
        "ANTIVIRUS_INFECTED_FILE_HANDLING",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_too_large_file_handling: str = setting(
        Choice(("abort", "delete", "continue")),
        "abort",
        "What happens to a file that is larger than the scanner itself looks at: it is kept unreadable, or removed, or "
        "released with the remark that it was not scanned. It comes after the limit that is said for all scanners.",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_unscannable_file_handling: str = setting(
        Choice(("abort", "delete", "continue")),
        "abort",
        "What happens to a file that the scanner says it cannot look into (encrypted, damaged, nested too deeply): it "
        "is kept unreadable, or removed, or released with the remark that it was not scanned.",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_max_scan_size_bytes: int | None = setting(
        SizeLimit(),
        "0",
        "Files above this size are treated as the next setting says.",
        "ANTIVIRUS_MAX_SCAN_SIZE",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_max_scan_size_mode: str = setting(
        Choice(("partial", "skip", "reject")),
        "partial",
        "Whether a file above the limit is scanned up to it, goes on without a scan, or is rejected.",
        "ANTIVIRUS_MAX_SCAN_SIZE_MODE",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_scan_timeout: timedelta | None = setting(
        TimeLimit(),
        "0",
        "How long the scan of one file may take. 0: 60 s and 1 s more for every 20 MB.",
        "ANTIVIRUS_CLAMAV_SCAN_TIMEOUT",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_breaker_failures: int = setting(
        Whole(least=1),
        "5",
        "After so many failures in a row a scanner is left alone for a while.",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_breaker_pause: timedelta = setting(
        Duration(least=timedelta(milliseconds=1)),
        "30s",
        "How long a scanner is left alone that fails all the time. Then one request tries whether it works again.",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_self_test_interval: timedelta = setting(
        Duration(least=timedelta(seconds=1)),
        "1m",
        "How often each scanner has to find EICAR. While one does not, no file passes.",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_self_test_believed_for: timedelta = setting(
        Duration(),
        "0s",
        "How old the latest find of EICAR may be for a file to pass, where the scanner does not tell when its "
        "signatures change (clamd without official ones; ICAP). 0: it has to find EICAR after each file.",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_alert_url: str | None = setting(
        Webhook(),
        "",
        "Where news for the administrator is posted to as JSON: a virus that was found, a scanner that cannot be used, "
        "and that it works again. Empty: it is in the log and the metrics only.",
        group=_GROUP,
        services=SCANNING,
        secret=True,
    )
    antivirus_alert_token: str = setting(
        Text(),
        "",
        "Sent with that as a bearer token.",
        group=_GROUP,
        services=SCANNING,
        secret=True,
    )
    antivirus_clamav_socket: tuple[str, ...] = setting(
        Words(),
        "/run/clamav/clamd.ctl",
        "Where clamd listens: a path, or `tcp://host:port`; several, which may be mixed, share the work and stand in "
        "for each other. All must be set to the same limits.",
        "ANTIVIRUS_CLAMAV_SOCKET",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_clamav_local_files: str = setting(
        Choice(("auto", "fd", "path", "stream")),
        "auto",
        "How clamd gets at files on this machine: by an open descriptor over a unix socket (`fd`), by their path where "
        "the next setting allows it (`path`), or as a stream. `auto`: the first of these that works. What does not "
        "work falls back to the stream.",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_clamav_shared_folder: Path | None = setting(
        File(),
        "",
        "A folder that clamd sees under the same path, such as the data folder on a volume that both have mounted. "
        "Files below are then opened by a clamd that listens on TCP, once the self-test has found EICAR there. Empty: "
        "there is none.",
        group=_GROUP,
        services=SCANNING,
    )
    # clamd.conf(5) says 100M for both (ClamAV 1.0 and later), but the clamd.conf that Debian's package writes says 25M.
    # Too low a value rejects files that clamd could scan; too high a one would pass files that it did not look at.
    antivirus_clamav_max_file_size_bytes: int = setting(
        Size(),
        "25MiB",
        "The lower of clamd's own MaxFileSize and MaxScanSize, which it does not tell. It does not look at larger "
        "files. The default is that of Debian's clamd.conf; ClamAV's own is 100 MiB.",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_clamav_stream_max_length_bytes: int = setting(
        Size(),
        "25MiB",
        "clamd's own StreamMaxLength, which it does not tell. It takes no larger stream. The default is that of "
        "Debian's clamd.conf; ClamAV's own is 100 MiB.",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_clamav_max_scan_time: timedelta | None = setting(
        TimeLimit(),
        "2m",
        "clamd's own MaxScanTime, which it does not tell. After that it stops looking, and calls the file clean: so "
        "such an answer does not count when it comes so late. 0: clamd has no such limit, or `AlertExceedsMax yes`.",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_icap_url: str = setting(
        Text(),
        "icap://127.0.0.1:1344",
        "Where the ICAP server is: `icap://host:port`, or `icaps://host:port` for TLS. A path in it is the service.",
        "ANTIVIRUS_ICAP_URL",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_icap_service: str = setting(
        Text(),
        "avscan",
        "The service on the ICAP server, where the URL has no path.",
        "ANTIVIRUS_ICAP_SERVICE",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_icap_scan_timeout: timedelta | None = setting(
        TimeLimit(),
        "0",
        "How long the scan of one file by ICAP may take, in place of the setting for all scanners. 0: as that says.",
        "ANTIVIRUS_ICAP_SCAN_TIMEOUT",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_icap_method: str = setting(
        Choice(("auto", "reqmod", "respmod")),
        "auto",
        "Whether files are put before the ICAP service as uploads (`reqmod`) or as downloads (`respmod`). `auto`: as "
        "uploads if it can, as the Go service does.",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_icap_profile: str = setting(
        Choice(
            (
                "any",
                "c-icap",
                "eset",
                "f-secure",
                "fortinet",
                "kaspersky",
                "mcafee",
                "metadefender",
                "sophos",
                "symantec",
                "trend-micro",
            )
        ),
        "any",
        "The product behind ICAP: in which fields of its answers the name of a virus stands. `any` looks at them all.",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_icap_header: str = setting(
        Text(),
        "",
        "A further field of the answer that names what was found, for a product that calls it otherwise.",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_icap_unmodified_is_clean: bool = setting(
        Flag(),
        "false",
        "Whether a file counts as clean that the service sends back as it was although it could have said so by status "
        "204. Most services do that with files that they have not looked at.",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_icap_max_file_size_bytes: int = setting(
        Size(),
        "25MiB",
        "Up to which size the service really looks at files, which it does not tell. Larger ones are not sent. It is "
        "tried out at start.",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_icap_max_scan_time: timedelta | None = setting(
        TimeLimit(),
        "2m",
        "After which time the engine behind the ICAP service may stop looking and call a file clean, such as clamd's "
        "MaxScanTime: such an answer does not count when it comes so late. 0: it never does that.",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_icap_tls_insecure: bool = setting(
        Flag(),
        "false",
        "Whether any certificate of the ICAP server will do. Only for trying things out.",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_icap_tls_root_ca_certificate: Path | None = setting(
        File(),
        "",
        "File with the certificates (PEM) that the ICAP server's must be signed by. Empty: those of the system.",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_yara_rules: tuple[Path, ...] = setting(
        Paths(),
        "",
        "Your YARA rules: files, and folders whose `.yar` and `.yara` files are taken, at any depth. The rule that "
        "comes with Penstock is used as well; alone, as by default, it knows the EICAR test file and nothing else.",
        group=_GROUP,
        services=SCANNING,
    )
    antivirus_yara_least_severity: str = setting(
        Choice(("low", "medium", "high", "critical")),
        "low",
        "Which YARA rules make a file infected: those whose metadata say `severity = ` this or worse, and those that "
        "do not say. Others are only noted in the result.",
        group=_GROUP,
        services=SCANNING,
    )
