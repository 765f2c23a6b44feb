"""How log lines look. A line is a constant event name and fields; values and secrets are never part of the name."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, TextIO, cast

import structlog

from .errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


class _StandardError:
    """Standard error as it is when a line is written: it may be another one than when the logger was made."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


class _LogFile:
    """A file that lines are appended to; opened for each, so that logrotate may move it away at any time."""

    def __init__(self, path: Path) -> None:
        """Look whether it can be written.

        Raises:
            ConfigurationError: it cannot.
        """
        self._path = path
        try:
            path.open("a").close()
        except OSError as error:
            raise ConfigurationError(
                f"log_file={path}: {error.strerror}. Choose a file that may be written."
            ) from error

    def write(self, text: str) -> int:
        try:
            with self._path.open("a", encoding="utf-8") as file:
                return file.write(text)
        except OSError:  # a full disk must not stop the work that is told of
            return sys.stderr.write(text)

    def flush(self) -> None:
        """Nothing is held back."""


def configure(level: str, style: str, *, color: str = "auto", file: Path | None = None) -> None:
    """Send log lines of at least `level` to standard error, or to a file.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        style: `text` (for people), `json` (an object per line), or `auto`: text on a terminal, JSON elsewhere.
        color: `always`, `never`, or `auto`: on a terminal. Counts for text only.
        file: where lines are appended to; None: standard error.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    numeric = logging.getLevelNamesMapping()[level.upper()]
    terminal = file is None and sys.stderr.isatty()
    out = cast("TextIO", _StandardError() if file is None else _LogFile(file))
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering: list[structlog.typing.Processor] = (
        [
            structlog.dev.ConsoleRenderer(
                colors=color == "always" or (color == "auto" and terminal),
                # Its usual one shows the values of local variables, which may be secrets.
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
        if style == "text" or (style == "auto" and terminal)
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    )
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=True,
    )
    # Its exporters tell of each try and each pause while a collector is away; `tracing.otlp` tells of it once.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    logging.basicConfig(stream=out, level=max(numeric, logging.WARNING), format="%(name)s: %(message)s", force=True)
