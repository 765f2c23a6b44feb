"""Settings of what the operator watches: log lines and traces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..entries import OtherName, everywhere, setting
from ..kinds import Choice, Flag, Text
from ..places import File, WebAddress
from ..services import Service

_GROUP = "Logs and traces"

_LOG_LEVELS = Choice(
    ("debug", "info", "warning", "error"),
    {"trace": "debug", "warn": "warning", "fatal": "error", "panic": "error"},
)


def _pretty(_before: str, pretty: bool) -> str:
    return "text" if pretty else "json"


def _coloured(_before: str, coloured: bool) -> str:
    return "always" if coloured else "never"


@dataclass(frozen=True, kw_only=True)
class WatchingSettings:
    """Where log lines and traces go, and how they look."""

    log_level: str = setting(
        _LOG_LEVELS,
        "info",
        "The least important messages that are logged.",
        *everywhere("LOG_LEVEL"),
        group=_GROUP,
        defaults={Service.POSTPROCESSING: "warning", Service.ANTIVIRUS: "warning"},
    )
    log_format: str = setting(
        Choice(("auto", "text", "json")),
        "auto",
        "How messages are logged: for people, for machines, or as fits where they go (a terminal or elsewhere).",
        *(OtherName(name, Flag(), _pretty) for name in everywhere("LOG_PRETTY")),
        group=_GROUP,
    )
    log_color: str = setting(
        Choice(("auto", "always", "never")),
        "auto",
        "Whether log lines for people are coloured. `auto`: on a terminal.",
        *(OtherName(name, Flag(), _coloured) for name in everywhere("LOG_COLOR")),
        group=_GROUP,
    )
    log_file: Path | None = setting(
        File(),
        "",
        "File that log lines are appended to. Empty: they go to standard error.",
        *everywhere("LOG_FILE"),
        group=_GROUP,
    )
    tracing_enabled: bool = setting(
        Flag(),
        "false",
        "Whether traces are sent (docs/guide/tracing.md). Needs the extra `tracing`.",
        *everywhere("TRACING_ENABLED"),
        group=_GROUP,
    )
    tracing_type: str = setting(
        Choice(("otlp", "jaeger")),
        "otlp",
        "What the receiver of traces is. Both are sent OTLP, which Jaeger understands since its version 1.35.",
        *everywhere("TRACING_TYPE"),
        group=_GROUP,
    )
    tracing_endpoint: str = setting(
        Text(),
        "",
        "Where OTLP is received by gRPC, such as `127.0.0.1:4317`; with `https://` in front, by TLS.",
        *everywhere("TRACING_ENDPOINT"),
        group=_GROUP,
    )
    tracing_collector: str | None = setting(
        WebAddress(),
        "",
        "URL where OTLP is received by HTTP, for when there is no `tracing_endpoint`. `/v1/traces` is added to one"
        " without a path.",
        *everywhere("TRACING_COLLECTOR"),
        group=_GROUP,
    )
