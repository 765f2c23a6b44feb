"""Takes over from the Go service `postprocessing`: looks at what it left, and has every upload of it go on."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..bus.base import OnServer
from ..bus.inheritance import PlaceFound, StreamFound
from ..bus.publish import Publisher
from ..clock import SystemClock
from ..errors import ConfigurationError, InvalidRequest
from ..health import Check
from ..postprocessing.coordinator import GROUP
from ..postprocessing.inherited import Inherited
from ..postprocessing.requests import Requests
from ..store.base import MadeWhenMissing
from .opening import BRIEFLY, UNSEEN, bus_of, store_of
from .policy import policy_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..bus.inheritance import Inheritance
    from ..postprocessing.commands import Row
    from ..settings import Settings


class StillConnected(InvalidRequest):
    """An instance takes events still; nothing was changed."""

    code = "still-connected"


@dataclass(frozen=True, slots=True)
class Found:
    """What the Go service has left."""

    stream: StreamFound
    places: list[PlaceFound]
    records: Inherited
    store_made: bool = False
    """Whether the store had no place for records, and it was made just now."""

    @property
    def connected(self) -> list[str]:
        """The consumers that an instance takes events from."""
        return [place.name for place in self.places if place.connected]

    @property
    def checks(self) -> list[Check]:
        """What was looked at, in words."""
        return [_of_stream(self.stream), *_of_places(self.places), _of_records(self.records, made=self.store_made)]


class TakeOver:
    """One take-over, on an open bus and store."""

    def __init__(self, inheritance: Inheritance, requests: Requests, *, store_made: bool) -> None:
        self._inheritance = inheritance
        self._requests = requests
        self._store_made = store_made

    async def look(self) -> Found:
        """Look at stream, consumers and store, and change nothing.

        Raises:
            Unavailable: the bus or the store does not answer.
        """
        return Found(
            await self._inheritance.stream(),
            await self._inheritance.places(GROUP),
            await self._requests.inherited(),
            self._store_made,
        )

    async def run(
        self, found: Found, *, dry_run: bool = False, while_it_runs: bool = False, replace_consumer: bool = False
    ) -> tuple[PlaceFound | None, list[Row]]:
        """Resume every upload that the Go service left. Its consumer stays: it serves us as well as a way back.

        Args:
            found: what `look` has returned just now.
            dry_run: only return what would be resumed.
            while_it_runs: do it though an instance is connected.
            replace_consumer: put a consumer that is pulled from in the place of one that pushes, where that has got to.
                An older Go service that comes back would make itself a new one, at the end of the stream.

        Returns:
            The consumer that was put in the place of the other, None when none was; and a row for each upload.

        Raises:
            StillConnected: an instance takes events still, and `while_it_runs` does not say that this is meant, or its
                consumer is to be replaced.
            Unavailable: the bus or the store does not answer. What was done is done; it can be repeated.
        """
        if dry_run:
            return None, await self._requests.take_over(dry_run=True)
        if found.connected and (replace_consumer or not while_it_runs):
            way_out = "" if replace_consumer else "; or say --while-it-runs, if both are to run side by side"
            raise StillConnected(
                f"an instance takes events from {' and '.join(found.connected)} still. Stop the Go service first, and "
                f"run this before Penstock is started{way_out}."
            )
        placed = await self._inheritance.replace(GROUP) if replace_consumer else None
        return placed, await self._requests.take_over()


@asynccontextmanager
async def open_takeover(settings: Settings) -> AsyncIterator[TakeOver]:
    """Connect to the bus and the store of the service.

    Raises:
        Unavailable: one of them does not answer.
        ConfigurationError: a setting is wrong, or one of them is of a kind that nobody else can have used.
    """
    clock = SystemClock()
    if settings.store in UNSEEN:
        raise ConfigurationError(
            f"store={settings.store} ({settings.origins.get('store')}): what the Go service had in its memory is gone "
            "with it. Choose the store that it had, such as nats-js-kv."
        )
    async with bus_of(settings, clock, patience=BRIEFLY) as bus:
        publisher = Publisher(bus, clock)
        if not isinstance(bus, OnServer):
            raise ConfigurationError(
                f"bus={settings.bus} ({settings.origins.get('bus')}): no Go service was on it. Set it to nats."
            )
        async with store_of(settings, policy_of(settings), to_list=True, patience=BRIEFLY) as store:
            requests = Requests(store=store, publisher=publisher, clock=clock)
            made = isinstance(store, MadeWhenMissing) and store.has_made
            yield TakeOver(bus.inheritance(), requests, store_made=made)


def _of_stream(stream: StreamFound) -> Check:
    if stream.trouble:
        detail = f"{stream.name}: {'; '.join(stream.trouble)}."
        return Check("stream", ok=False, detail=detail, hint="Correct the stream: no service can work with it so.")
    if stream.made:
        detail = f"There was no {stream.name}; it was made as the Go services make it."
        return Check("stream", ok=False, detail=detail, hint="See whether this is the NATS server of the Go service.")
    differences = f" Unlike the usual: {'; '.join(stream.differences)}." if stream.differences else ""
    return Check("stream", ok=True, detail=f"{stream.name} holds {stream.events} events.{differences}")


def _of_places(places: list[PlaceFound]) -> list[Check]:
    if not places:
        detail = f"None of the group {GROUP!r}: no Go service of it was on this bus."
        return [Check("consumer", ok=True, detail=detail, hint="The first instance makes one, and misses nothing.")]
    return [_of_place(place) for place in places]


def _of_place(place: PlaceFound) -> Check:
    kind = "pushes, as older Go services have it" if place.pushes else "is pulled from"
    detail = f"{place.name} {kind}: {place.waiting} events are not handled yet."
    if not place.connected:
        return Check("consumer", ok=True, detail=f"{detail} Nobody is connected.")
    return Check("consumer", ok=False, detail=f"{detail} An instance is connected.", hint="Stop the Go service.")


def _of_records(records: Inherited, *, made: bool) -> Check:
    if made:
        detail = "There was no such bucket; it was made as the Go services make it."
        hint = "See whether POSTPROCESSING_STORE_DATABASE and the nodes are those of the Go service."
        return Check("store", ok=False, detail=detail, hint=hint)
    detail = f"{records.records} uploads; a Go instance moved {records.by_go} of them last."
    if not records.by_go:
        return Check("store", ok=True, detail=detail)
    lost = f" In its memory only: {records.retries} retries, and up to {records.delays} delays."
    return Check("store", ok=True, detail=detail + lost, hint="They are resumed.")
