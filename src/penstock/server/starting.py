"""What every service does before it starts."""

from __future__ import annotations

import gc
import resource
from typing import TYPE_CHECKING, Final

import structlog

from ..logs import configure

if TYPE_CHECKING:
    from ..settings import Settings

log = structlog.get_logger(__name__)

_NEW_OBJECTS: Final = 50_000
"""At most some 5 MiB. What a few hundred events in work hold on to stays below it, and is not looked at in vain."""
_OPEN_FILES: Final = 65_536
"""Two for each client that sends. Not more than that: programs that steps run may close all that there could be."""


def begin_logging(settings: Settings) -> None:
    """Log as the settings say, and tell what the operator should know about them.

    Raises:
        ConfigurationError: the log file cannot be written.
    """
    configure(settings.log_level, settings.log_format, color=settings.log_color, file=settings.log_file)
    for warning in settings.warnings:
        log.warning("setting", message=warning)


def allow_open_files() -> None:
    """Let this process have as many connections and files open as the system allows it to ask for.

    What it has without asking is 1,024 as a rule, for programs that know no better way to wait than `select`.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def collect_rarely() -> None:
    """Have the garbage collector look at what is new after `_NEW_OBJECTS` of it, and never again at what is here now.

    Nearly all that an event leaves behind is freed without it, but with its usual 700 new objects it looks at the
    events in work several times for each that is done: a tenth of all CPU time, with 256 uploads at a time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
