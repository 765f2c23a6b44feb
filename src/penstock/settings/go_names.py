"""Variables of the Go services that set nothing here, and the keys of their YAML files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .services import Service, readers

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class SetsNothing:
    """Variables that are known and set nothing."""

    variables: tuple[str, ...]
    why: str
    """Goes on after their name, and says what is so instead."""
    told: bool = True
    """Whether who sets one of them is told at start; not where everything is as it should be without it."""
    harmless: tuple[str, ...] = ("",)
    """Values that ask for nothing, in small letters."""


_OFF = ("", "0", "f", "false")

SETS_NOTHING: Final = (
    SetsNothing(
        tuple(f"{one}_DEBUG_{what}" for one in ("POSTPROCESSING", "ANTIVIRUS") for what in ("PPROF", "ZPAGES")),
        "opens a view into the Go runtime, which is not here. `/metrics` and traces show what goes on.",
        harmless=_OFF,
    ),
    SetsNothing(
        ("POSTPROCESSING_PUBLISH_MAX_RETRIES",),
        "is not needed: an event is published again until it is through.",
        told=False,
    ),
    SetsNothing(
        ("ANTIVIRUS_DEBUG_SCAN_OUTCOME",),
        "is not followed: it would release files that nobody has scanned. The EICAR test file makes a scanner find.",
    ),
    SetsNothing(
        ("ANTIVIRUS_ICAP_TIMEOUT",), "is deprecated. Set ANTIVIRUS_ICAP_SCAN_TIMEOUT, as a duration.", harmless=("",)
    ),
    SetsNothing(
        (
            "ANTIVIRUS_PRIORITY_THRESHOLD",
            "ANTIVIRUS_PRIORITY_WINDOW",
            "ANTIVIRUS_PRIORITY_COOLDOWN",
            "ANTIVIRUS_HIGH_PRIORITY_RESERVED_WORKERS",
            "ANTIVIRUS_QUEUE_ACK_WAIT",
            "ANTIVIRUS_QUEUE_REPLICAS",
        ),
        "is about a second queue for scans, which is not here.",
    ),
    SetsNothing(
        (
            "STORAGE_USERS_DATA_GATEWAY_URL",
            "STORAGE_USERS_DATA_SERVER_URL",
            "STORAGE_USERS_TRANSFER_EXPIRES",
            "STORAGE_USERS_EVENTS_NUM_CONSUMERS",
        ),
        "is read by the Go service `storage-users`, which puts the address of the bytes into its events.",
        told=False,
    ),
    SetsNothing(
        ("POLICIES_POSTPROCESSING_QUERY", "POLICIES_ENGINE_TIMEOUT"),
        "is read by the Go service `policies`, which answers the step of that name.",
        told=False,
    ),
)


def without_effect(said: Mapping[str, tuple[str, str]], service: Service) -> list[str]:
    """Return what to tell somebody who set variables that set nothing.

    Args:
        said: By variable: how it was named and where, and its value.
        service: What is being run: it is told of what it would read.
    """
    return [
        f"{said[variable][0]} {one.why}"
        for one in SETS_NOTHING
        if one.told
        for variable in one.variables
        if variable in said and service in readers(variable) and said[variable][1].strip().lower() not in one.harmless
    ]


def _of_both(prefix: str, events: str) -> dict[str, str]:
    """Return the keys that the files of both services have; `events` is where those of the bus are."""
    return {
        "loglevel": f"{prefix}_LOG_LEVEL",
        **{f"log.{key}": f"{prefix}_LOG_{key.upper()}" for key in ("level", "pretty", "color", "file")},
        **{f"tracing.{key}": f"{prefix}_TRACING_{key.upper()}" for key in ("enabled", "type", "endpoint", "collector")},
        **{f"debug.{key}": f"{prefix}_DEBUG_{key.upper()}" for key in ("addr", "token", "pprof", "zpages")},
        **{
            f"{events}.{key}": f"{prefix}_EVENTS_{key.upper()}"
            for key in ("endpoint", "cluster", "tls_insecure", "tls_root_ca_certificate", "enable_tls")
        },
        f"{events}.username": f"{prefix}_EVENTS_AUTH_USERNAME",
        f"{events}.password": f"{prefix}_EVENTS_AUTH_PASSWORD",
    }


KEYS: Final[Mapping[Service, Mapping[str, str]]] = {
    Service.POSTPROCESSING: {
        **_of_both("POSTPROCESSING", "postprocessing.events"),
        "postprocessing.events.ack_wait": "SEARCH_EVENTS_ACK_WAIT",
        "postprocessing.events.max_ack_pending": "SEARCH_EVENTS_MAX_ACK_PENDING",
        "postprocessing.workers": "POSTPROCESSING_WORKERS",
        "postprocessing.steps": "POSTPROCESSING_STEPS",
        "postprocessing.virusscan": "POSTPROCESSING_VIRUSSCAN",
        "postprocessing.delayprocessing": "POSTPROCESSING_DELAY",
        "postprocessing.retry_backoff_duration": "POSTPROCESSING_RETRY_BACKOFF_DURATION",
        "postprocessing.max_retries": "POSTPROCESSING_MAX_RETRIES",
        "postprocessing.publish_max_retries": "POSTPROCESSING_PUBLISH_MAX_RETRIES",
        "store.store": "POSTPROCESSING_STORE",
        "store.username": "POSTPROCESSING_STORE_AUTH_USERNAME",
        "store.password": "POSTPROCESSING_STORE_AUTH_PASSWORD",
        **{
            f"store.{key}": f"POSTPROCESSING_STORE_{key.upper()}"
            for key in (
                "nodes",
                "database",
                "table",
                "ttl",
                "size",
                "enable_tls",
                "tls_insecure",
                "tls_root_ca_certificate",
            )
        },
    },
    Service.ANTIVIRUS: {
        **_of_both("ANTIVIRUS", "events"),
        "workers": "ANTIVIRUS_WORKERS",
        "infected-file-handling": "ANTIVIRUS_INFECTED_FILE_HANDLING",
        "max-scan-size": "ANTIVIRUS_MAX_SCAN_SIZE",
        "max-scan-size-mode": "ANTIVIRUS_MAX_SCAN_SIZE_MODE",
        "scanner.type": "ANTIVIRUS_SCANNER_TYPE",
        "scanner.clamav.socket": "ANTIVIRUS_CLAMAV_SOCKET",
        "scanner.clamav.scan_timeout": "ANTIVIRUS_CLAMAV_SCAN_TIMEOUT",
        "scanner.icap.url": "ANTIVIRUS_ICAP_URL",
        "scanner.icap.service": "ANTIVIRUS_ICAP_SERVICE",
        "scanner.icap.scan_timeout": "ANTIVIRUS_ICAP_SCAN_TIMEOUT",
        "scanner.icap.timeout": "ANTIVIRUS_ICAP_TIMEOUT",
    },
}
"""The keys of each service's file, with the variable that says the same."""
