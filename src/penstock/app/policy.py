"""What the settings say about steps, and whether somebody answers each of them."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

import structlog

from ..core.policy import Policy, appends_delay
from ..errors import ConfigurationError
from ..events.types import DELAY, VIRUSSCAN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..settings import Settings
    from ..steps.kit import StepDefinition

log = structlog.get_logger(__name__)


def policy_of(settings: Settings) -> Policy:
    """Return the policy that the settings describe.

    Raises:
        ConfigurationError: a step is named twice, or has a name that cannot be.
    """
    if appends_delay(settings.steps, settings.delay):
        log.warning("delay_runs_last", hint="a delay is set but not among the steps; list it to choose its place")
    return Policy.create(
        settings.steps,
        delay=settings.delay,
        max_retries=settings.max_retries,
        retry_backoff=settings.retry_backoff,
        step_timeouts=dict(settings.step_timeout),
    )


def check_handlers(settings: Settings, definitions: Sequence[StepDefinition]) -> None:
    """Make sure that somebody answers each step: on the embedded bus nobody else can.

    Raises:
        ConfigurationError: a step has nobody.
    """
    known = [DELAY, VIRUSSCAN, *(definition.name for definition in definitions)]
    for step in settings.steps:
        if step not in known:
            close = get_close_matches(step, known, n=1)
            meant = f"Did you mean {close[0]}? Otherwise" if close else "To add it,"
            origin = settings.origins.get("steps")
            raise ConfigurationError(
                f"steps={','.join(settings.steps)} ({origin}): nobody answers step {step!r}. "
                f"{meant} load a file that defines it with --steps FILE."
            )
    for definition in definitions:
        if definition.name not in settings.steps:
            log.warning("step_is_not_used", step=definition.name, hint="it is defined but not among the steps")
