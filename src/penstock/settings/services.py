"""The services that settings are for, and whose variables each of them reads."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Service(StrEnum):
    """What is being run. One environment and one file may serve several: each reads what is meant for it."""

    SERVE = "serve"
    """`penstock serve`: everything in one process."""
    POSTPROCESSING = "postprocessing"
    """`penstock postprocessing …`: the coordinator, in place of the Go service of that name."""
    ANTIVIRUS = "antivirus"
    """`penstock antivirus …`: the scanner, in place of the Go service of that name."""
    STEP = "step"
    """`penstock step …`: steps of one's own, in a process of their own."""


EVERYWHERE: Final = tuple(Service)
COORDINATING: Final = (Service.SERVE, Service.POSTPROCESSING)
SCANNING: Final = (Service.SERVE, Service.ANTIVIRUS)
RUNNING_STEPS: Final = (Service.SERVE, Service.STEP)

_READERS: Final = {
    "POSTPROCESSING_": COORDINATING,
    "ANTIVIRUS_": SCANNING,
    "STORAGE_USERS_": (Service.SERVE,),
}


def readers(variable: str) -> tuple[Service, ...]:
    """Return the services that read a variable: one with a service's name in front is for that service only.

    `penstock serve` stands for all of them.
    """
    return next((services for prefix, services in _READERS.items() if variable.startswith(prefix)), EVERYWHERE)
