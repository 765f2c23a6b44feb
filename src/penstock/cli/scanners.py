"""What `penstock antivirus check` finds out about each scanner, one by one and without a server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import PenstockError

if TYPE_CHECKING:
    from ..antivirus.base import Scanner
    from ..clock import Clock
    from ..settings import Settings


@dataclass(slots=True)
class Finding:
    """How one scanner is."""

    scanner: str
    ok: bool = False
    engine: str = ""
    database: str = ""
    seconds: float = 0.0
    detail: str = ""

    def row(self) -> tuple[str, ...]:
        """Return it for people."""
        state = "ok" if self.ok else "wrong"
        return (state, self.scanner, self.engine, self.database, f"{self.seconds:.2f}", self.detail)

    def document(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "scanner": self.scanner,
            "ok": self.ok,
            "engine_version": self.engine,
            "database_version": self.database,
            "seconds": round(self.seconds, 3),
            "detail": self.detail,
        }


async def examine(settings: Settings) -> list[Finding]:
    """Put each scanner that the settings name to the test, and each of several clamds, all at the same time."""
    from ..clock import SystemClock

    clock = SystemClock()
    return list(await asyncio.gather(*(_examine(*one, clock) for one in _each(settings))))


def _each(settings: Settings) -> list[tuple[str, str, Settings]]:
    """Return name, scanner and settings of each; of several clamds, that stand in for each other, one by one."""
    each: list[tuple[str, str, Settings]] = []
    for name in settings.antivirus_scanner:
        addresses = settings.antivirus_clamav_socket
        if name != "clamav" or len(addresses) < 2:
            each.append((name, name, settings))
            continue
        each += [
            (f"{name} {address}", name, replace(settings, antivirus_clamav_socket=(address,))) for address in addresses
        ]
    return each


async def _examine(title: str, name: str, settings: Settings, clock: Clock) -> Finding:
    from ..antivirus.base import SupportsLimitProof
    from ..app.scanner import one_scanner_of

    finding, began_at = Finding(title), clock.monotonic()
    try:
        scanner: Scanner
        async with one_scanner_of(name, settings, clock) as scanner:
            version = await scanner.version()
            finding.engine, finding.database = version.engine, version.database
            await scanner.self_test()
            if isinstance(scanner, SupportsLimitProof):
                await scanner.limit_proved()
            finding.ok, finding.detail = True, "The EICAR test file is found, harmless bytes are clean."
    except PenstockError as error:
        finding.detail = str(error)
    finding.seconds = clock.monotonic() - began_at
    return finding
