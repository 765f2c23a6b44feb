"""Garbage collection: looks at everything there is, says what nobody needs any more, and removes it if it is to.

What the sweeper does every minute for uploads that it knows of, this does for all that lies in the storages, whatever
has put it there and died. `collection` has the rule, `collecting` the work.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from .collecting import Collecting, Means, News
from .collection import Report, checked_age

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from datetime import timedelta


class Collector:
    """Collects garbage, one collection at a time."""

    def __init__(self, means: Means, *, older_than: timedelta) -> None:
        """Work with `means`; what is younger than `older_than` does not go unless somebody says otherwise."""
        self._means = means
        self._older_than = older_than
        self._turn = asyncio.Lock()

    async def collect(self, *, dry_run: bool, older_than: timedelta | None = None, strays: bool = True) -> Report:
        """Do what `news` does; return its report."""
        async with aclosing(self.news(dry_run=dry_run, older_than=older_than, strays=strays)) as news:
            async for one in news:
                if isinstance(one, Report):
                    return one
        raise AssertionError("a collection ends with its report")

    async def news(
        self, *, dry_run: bool, older_than: timedelta | None = None, strays: bool = True
    ) -> AsyncGenerator[News, None]:
        """Yield what is found and, unless it is a `dry_run`, done, as it goes on, and the report at the end.

        Closed before its end, it stops there; whatever was not reached is found by the next one.

        Args:
            dry_run: only look; nothing is changed, and nothing remembered.
            older_than: how old something must be to go; None: as old as usual.
            strays: whether released bytes go that no entry names. Otherwise they are only reported.

        Raises:
            InvalidRequest: `older_than` is too short.
        """
        age = self._older_than if older_than is None else checked_age(older_than)
        async with self._turn:
            work = Collecting(self._means, dry_run=dry_run, older_than=age, strays=strays)
            async with aclosing(work.news()) as news:
                async for one in news:
                    yield one
