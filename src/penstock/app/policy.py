"""What the settings say about steps, and whether somebody answers each of them."""

from __future__ import annotations

from datetime import timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from ..core.choice import parse_rules
from ..core.policy import Policy, appends_delay
from ..errors import ConfigurationError
from ..events.types import DELAY, VIRUSSCAN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..core.choice import StepRule
    from ..settings import Settings
    from ..steps.kit import StepDefinition

log = structlog.get_logger(__name__)

_ENDED_KEPT: Final = timedelta(minutes=2)
"""How long a shared bus may bring an event once more, by our own measure of how long its server knows repeats. On the
embedded bus one process has the only memory that it takes."""


def policy_of(settings: Settings) -> Policy:
    """Return the policy that the settings describe.

    Raises:
        ConfigurationError: a step is named twice, or has a name that cannot be, or a rule is wrong.
    """
    if appends_delay(settings.steps, settings.delay):
        log.warning("delay_runs_last", hint="a delay is set but not among the steps; list it to choose its place")
    rules = step_rules_of(settings)
    try:
        policy = Policy.create(
            settings.steps,
            rules=rules,
            delay=settings.delay,
            max_retries=settings.max_retries,
            retry_backoff=settings.retry_backoff,
            step_timeouts=dict(settings.step_timeout),
        )
    except ConfigurationError as error:
        written = f"steps={','.join(settings.steps)} ({settings.origins.get('steps')})"
        raise ConfigurationError(f"{written}: {error}") from error
    return policy if settings.bus == "local" else msgspec.structs.replace(policy, ended_kept=_ENDED_KEPT)


def step_rules_of(settings: Settings) -> tuple[StepRule, ...]:
    """Return the rules that choose the steps of an upload.

    Raises:
        ConfigurationError: one is wrong.
    """
    return parse_rules(settings.step_rules.tables, str(settings.origins.get("step_rules", "default")))


def check_handlers(settings: Settings, definitions: Sequence[StepDefinition]) -> None:
    """Make sure that somebody answers each step: on the embedded bus nobody else can.

    Raises:
        ConfigurationError: a step has nobody.
    """
    known = [DELAY, VIRUSSCAN, *(definition.name for definition in definitions)]
    lists = {"steps": settings.steps}
    lists |= {f"step_rules, {rule.explain()}": rule.steps for rule in step_rules_of(settings)}
    used = {step for steps in lists.values() for step in steps}
    for step in settings.delivery:
        if step not in used:
            log.warning("delivery_is_not_used", step=step, hint="it is in `delivery`, but not among the steps")
    if settings.bus != "local":
        return  # there may be others who answer; the list of uploads shows those that nobody does
    for where, steps in lists.items():
        for step in steps:
            if step not in known:
                raise ConfigurationError(_nobody(where, steps, step, known, settings))
    for definition in definitions:
        if definition.name not in used:
            log.warning(
                "step_is_not_used", step=definition.name, hint="no upload meets it: add it to POSTPROCESSING_STEPS"
            )


def _nobody(where: str, steps: Sequence[str], step: str, known: Sequence[str], settings: Settings) -> str:
    close = get_close_matches(step, known, n=1)
    meant = f"Did you mean {close[0]}? Otherwise" if close else "To add it,"
    written = f"steps={','.join(steps)}" if where == "steps" else where
    origin = settings.origins.get(where.partition(",")[0])
    return (
        f"{written} ({origin}): nobody answers step {step!r}. {meant} load a file that defines it with --steps FILE, "
        "or set PENSTOCK_BUS=nats if it runs in a process of its own."
    )
