"""What every service does before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from ..logs import configure

if TYPE_CHECKING:
    from ..settings import Settings

log = structlog.get_logger(__name__)


def begin_logging(settings: Settings) -> None:
    """Log as the settings say, and tell what the operator should know about them.

    Raises:
        ConfigurationError: the log file cannot be written.
    """
    configure(settings.log_level, settings.log_format, color=settings.log_color, file=settings.log_file)
    for warning in settings.warnings:
        log.warning("setting", message=warning)
