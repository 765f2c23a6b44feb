"""A server that is started on a machine with a wrong clock."""

from __future__ import annotations

from contextlib import aclosing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from penstock.app.serve import App
from penstock.clock import SystemClock
from penstock.settings.load import load_settings
from penstock.uploads.garbage.collection import Report

if TYPE_CHECKING:
    from pathlib import Path

YEAR = timedelta(days=365)


class WrongClock(SystemClock):
    """Years off."""

    def __init__(self, by: timedelta) -> None:
        self.by = by

    def now(self) -> datetime:
        return super().now() + self.by


async def test_what_is_unfinished_outlives_it(tmp_path: Path) -> None:
    overrides = {"data_dir": "data", "steps": "", "upload_expiration": "1h", "retention": "24h"}
    settings = load_settings(overrides=overrides, environ={}, folder=tmp_path)
    async with App(settings, []) as app:
        before = (await app.services.receiver.create("before.txt", size_bytes=3)).upload.id
        cancelled = (await app.services.receiver.create("cancelled.txt", size_bytes=3)).upload.id
        await app.services.receiver.terminate(cancelled)
    for by in (YEAR, -30 * YEAR):
        clock = WrongClock(by)
        async with App(settings, [], clock=clock) as app:
            meanwhile = (await app.services.receiver.create("meanwhile.txt", size_bytes=3)).upload.id
            for _ in range(2):
                async with aclosing(app.services.garbage.news(dry_run=False)) as news:
                    (report,) = [one async for one in news if isinstance(one, Report)]
                assert (report.found, report.notes) == (0, [])
                assert bool(report.remarks) == (by > timedelta()), "somebody is told"
            clock.by = timedelta()  # the time server has answered
            assert (await app.services.receiver.status(meanwhile)).offset == 0
            assert (await app.services.receiver.status(before)).offset == 0
            assert await app.services.catalogue.get(cancelled) is not None
