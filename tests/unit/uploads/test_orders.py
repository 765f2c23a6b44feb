"""Uploads to one path, in every order in which they can be created, be complete, end and be deleted.

On the catalogue itself, over a database in memory, so that thousands of orders take a second. What must hold is said
by a model of a few lines: the file is the released upload that was created last.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec
from sqlalchemy import create_engine

from penstock.db import Database
from penstock.db.tables import metadata
from penstock.errors import NotFound
from penstock.ids import new_upload_id
from penstock.testing import ManualClock
from penstock.uploads.catalogue.catalogue import Catalogue
from penstock.uploads.files.files import Files
from penstock.uploads.files.removal import Removal
from penstock.uploads.places import Place
from penstock.uploads.quotas.quota import Ledger
from penstock.uploads.upload import Phase, Upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Connection

    from penstock.db.database import First

T = TypeVar("T")
DELETE = -1
"""In an order: the file is deleted. The other numbers are uploads, whose next event it is."""
ENDS = (Phase.RELEASED, Phase.REJECTED, Phase.DELETED)
EVENTS = 3
"""Of an upload: it is created, all its bytes are there, its steps end."""


class InMemory(Database):
    """A database that nobody waits for, and that nothing is kept of."""

    def __init__(self) -> None:
        self._connection = create_engine("sqlite://").connect()
        metadata.create_all(self._connection)

    async def write(self, work: Callable[[Connection], T], *, first: First | None = None) -> T:
        assert first is None
        return work(self._connection)

    async def read(self, work: Callable[[Connection], T]) -> T:
        return work(self._connection)

    async def find(self, work: Callable[[Connection], T]) -> T:
        return work(self._connection)


class Silent:
    """Stands for what is told of a change, and has nothing to do with it here."""

    def wake(self) -> None:
        pass

    async def terminate(self, upload_id: str) -> None:
        pass


class Parts(NamedTuple):
    catalogue: Catalogue
    files: Files
    clock: ManualClock

    @classmethod
    def over(cls, database: Database) -> Parts:
        clock, others = ManualClock(), Silent()
        anybody: Any = others
        catalogue = Catalogue(database, anybody, clock)
        removal = Removal(database=database, catalogue=catalogue, receiver=anybody, clock=clock)
        files = Files(database=database, receiver=anybody, blobs=anybody, ledger=Ledger(), removal=removal)
        return cls(catalogue, files, clock)


class Story:
    """What happens at one path, and what there should be after it."""

    def __init__(self, parts: Parts, place: Place, ends: Sequence[Phase]) -> None:
        self._catalogue, self._files, self._clock = parts
        self._place = place
        self._ends = ends
        self._ids = [new_upload_id() for _ in ends]
        self._phases: dict[int, Phase] = {}
        """In the order of their creation."""

    async def go_on(self, number: int) -> None:
        """Have the next event of an upload happen, or the file be deleted; look at what is there then."""
        await (self._delete() if number == DELETE else self._step(number))
        await self._check()

    async def _step(self, number: int) -> None:
        phase, upload_id = self._phases.get(number), self._ids[number]
        if phase is None:
            self._phases[number] = Phase.RECEIVING
            await self._catalogue.add(
                Upload(
                    id=upload_id,
                    filename=self._place.name,
                    path=self._place.path,
                    space=self._place.space,
                    size_bytes=1,
                    created_at=self._clock.now(),
                )
            )
            return
        before = await self._catalogue.get(upload_id)
        assert before is not None
        if before.phase is Phase.CANCELLED:
            return  # it was deleted: what comes late happens to nobody
        after = Phase.PROCESSING if phase is Phase.RECEIVING else self._ends[number]
        self._phases[number] = after
        assert await self._catalogue.change(before, msgspec.structs.replace(before, phase=after, run=1))

    async def _delete(self) -> None:
        there = [number for number, phase in self._phases.items() if phase in (Phase.PROCESSING, Phase.RELEASED)]
        try:
            await self._files.delete(self._place)
        except NotFound:
            assert not there
        for number in there:
            self._phases[number] = Phase.CANCELLED

    async def _check(self) -> None:
        newest_first = list(reversed(self._phases.items()))
        versions = [self._ids[number] for number, phase in newest_first if phase is Phase.RELEASED]
        coming = [self._ids[number] for number, phase in newest_first if phase is Phase.PROCESSING]
        try:
            found = [one.id for one in (await self._files.versions(self._place)).versions]
        except NotFound:
            found = []
        assert found == versions
        try:
            present = [(await self._files.get(self._place)).id]
        except NotFound:
            present = []
        assert present == (versions or coming)[:1]


def orders(uploads: int) -> Iterator[tuple[int, ...]]:
    """Yield every order of the events of some uploads; they are numbered as they are created, which loses none."""

    def continued(order: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(order) == uploads * EVENTS:
            yield order
        for number in range(uploads):
            if order.count(number) < EVENTS and (number == 0 or number - 1 in order):
                yield from continued((*order, number))

    yield from continued(())


async def test_two_uploads_with_a_deletion_in_between_in_every_order_with_every_end() -> None:
    parts, stories = Parts.over(InMemory()), itertools.count()
    for order in orders(2):
        for ends in itertools.product(ENDS, repeat=2):
            for when in range(len(order) + 1):
                story = Story(parts, Place("lab", f"folder/{next(stories)}"), ends)
                for number in (*order[:when], DELETE, *order[when:]):
                    await story.go_on(number)
    assert next(stories) == 10 * 9 * 7


async def test_three_uploads_in_every_order_with_every_end() -> None:
    """Each order with one combination of ends, which take turns: with all of them, it would take half a minute."""
    parts, stories = Parts.over(InMemory()), itertools.count()
    ends = itertools.cycle(itertools.product(ENDS, repeat=3))
    for order in orders(3):
        story = Story(parts, Place("lab", f"folder/{next(stories)}"), next(ends))
        for number in order:
            await story.go_on(number)
    assert next(stories) == 280
