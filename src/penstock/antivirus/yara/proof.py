"""The proof that rules can be used before files are scanned with them: EICAR is found, and not everything is."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ..base import ScanTimeout
from ..deadline import give_up_after
from ..eicar import eicar
from ..limits import Severity
from ..self_test import HARMLESS
from .rules import RulesInvalid

if TYPE_CHECKING:
    from .process import Worker

_LONGEST: Final = timedelta(seconds=30)
"""For a hundred bytes; more means that a rule runs away."""


async def prove(worker: Worker, least_severity: Severity) -> None:
    """Have the worker scan the EICAR test file and some harmless bytes.

    Raises:
        RulesInvalid: the rules miss the one, match the other, or run away.
        ScannerUnavailable, ScannerProtocolError: the worker did not answer.
    """
    if not await _matches(worker, eicar(), least_severity):
        raise RulesInvalid("with these rules the EICAR test file is not found.")
    if matches := await _matches(worker, HARMLESS, least_severity):
        raise RulesInvalid(f"the rule {matches[0]} matches harmless bytes: every file would be infected")


async def _matches(worker: Worker, data: bytes, least_severity: Severity) -> list[str]:
    fd = os.memfd_create("yara-proof")
    try:
        os.write(fd, data)
        async with give_up_after(_LONGEST, f"the rules to be matched against {len(data)} bytes"):
            scanned = await worker.scan(fd, len(data))
    except ScanTimeout as err:
        raise RulesInvalid(f"a rule runs away: {err}") from err
    finally:
        os.close(fd)
    return [name for name, severity in scanned.matches or () if Severity.of(severity) >= least_severity]
