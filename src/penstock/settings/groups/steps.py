"""Settings of postprocessing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from ..entries import OtherName, setting
from ..kinds import Flag, Whole, Words
from ..measures import Duration, Durations
from ..places import Paths
from ..services import COORDINATING, RUNNING_STEPS, Service
from ..tables import Tables, Written

_GROUP = "Postprocessing"
_MOMENT = timedelta(milliseconds=1)


def _with_virusscan(steps: tuple[str, ...], wanted: bool) -> tuple[str, ...]:
    without = tuple(step for step in steps if step != "virusscan")
    if not wanted:
        return without
    return steps if "virusscan" in steps else (*steps, "virusscan")


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """Which steps there are, and how they are tried again."""

    steps: tuple[str, ...] = setting(
        Words(),
        "virusscan",
        "The steps that every upload goes through, in order. Empty: files are released as soon as they have arrived.",
        "POSTPROCESSING_STEPS",
        OtherName(
            "POSTPROCESSING_VIRUSSCAN",
            Flag(),
            _with_virusscan,
            adds=True,
            deprecated=True,
            instead="List virusscan in POSTPROCESSING_STEPS, or leave it out there.",
        ),
        group=_GROUP,
        services=COORDINATING,
        defaults={Service.POSTPROCESSING: ""},
    )
    step_rules: Written = setting(
        Tables("step_rules"),
        "",
        "Rules that choose the steps of an upload by space, type, name, size or user. Where none fits, `steps` holds.",
        group=_GROUP,
        services=COORDINATING,
    )
    step_files: tuple[Path, ...] = setting(
        Paths(),
        "",
        "Python files with steps of your own, which the server then runs itself.",
        group=_GROUP,
        services=RUNNING_STEPS,
    )
    delay: timedelta = setting(
        Duration(),
        "0s",
        "How long the step `delay` waits. Where it is not among the steps, a delay above 0 makes it the last one.",
        "POSTPROCESSING_DELAY",
        group=_GROUP,
        services=COORDINATING,
    )
    max_retries: int = setting(
        Whole(),
        "14",
        "How often a step may ask to be tried again. One more time, and the upload is rejected.",
        "POSTPROCESSING_MAX_RETRIES",
        group=_GROUP,
        services=COORDINATING,
    )
    retry_backoff: timedelta = setting(
        Duration(least=_MOMENT),
        "5s",
        "The pause before the first retry; it doubles with each further one.",
        "POSTPROCESSING_RETRY_BACKOFF_DURATION",
        group=_GROUP,
        services=COORDINATING,
    )
    step_timeout: Mapping[str, timedelta] = setting(
        Durations(),
        "",
        "For each step named here: how long it may go without an answer or a sign of life before it is tried again.",
        "POSTPROCESSING_STEP_TIMEOUT",
        group=_GROUP,
        services=(*COORDINATING, Service.STEP),
    )
    stalled_after: timedelta = setting(
        Duration(least=_MOMENT),
        "10m",
        "How long a step may go without an answer or a sign of life before its upload is shown as stalled.",
        group=_GROUP,
        services=COORDINATING,
    )
    reconcile_interval: timedelta = setting(
        Duration(least=_MOMENT),
        "1m",
        "How often what is saved is compared with what should be happening.",
        group=_GROUP,
        services=COORDINATING,
    )
    workers: int = setting(
        Whole(least=1, most=1000),
        "3",
        "How many events are handled at the same time, by one instance. They wait for store and bus most of the time."
        " What they say at the same time goes out together: the Go service's 3 would be slower and cost more.",
        "POSTPROCESSING_WORKERS",
        group=_GROUP,
        services=COORDINATING,
        defaults={Service.POSTPROCESSING: "64"},
    )
    restart_resumes: bool = setting(
        Flag(),
        "false",
        "`true`: `penstock postprocessing restart` does what `resume` does, as with the Go service. `false`: it runs"
        " all steps again.",
        group=_GROUP,
        services=COORDINATING,
    )
