"""The SQL of files. On PostgreSQL, `tests/contract/test_catalogue_postgres.py` has the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from penstock.testing import ManualClock
from penstock.uploads.catalogue import paths
from penstock.uploads.catalogue.catalogue import Catalogue
from penstock.uploads.catalogue.feed import Feed
from penstock.uploads.places import Place
from penstock.uploads.upload import Phase, Upload

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from penstock.db import Database

A, B, C = Place("lab", "a.txt"), Place("lab", "é/b.txt"), Place("Übung", "a.txt")
NAMES = {A: ["a1", "a2", "a3"], B: ["b1"], C: ["c1", "c2"]}


@pytest.fixture
async def filled(database: Database) -> Database:
    """A database with released files of several versions each, and one upload in processing at each place."""
    clock = ManualClock()
    catalogue = Catalogue(database, Feed(database, clock), clock)
    for place, names in NAMES.items():
        for name in (*names, f"{place.space}{place.path}"):
            upload = Upload(
                id=name,
                filename=place.name,
                path=place.path,
                space=place.space,
                size_bytes=1,
                created_at=clock.now(),
                phase=Phase.PROCESSING,
            )
            await catalogue.add(upload)
            if name in names:
                assert await catalogue.change(upload, msgspec.structs.replace(upload, phase=Phase.RELEASED))
    return database


async def test_files_are_found_moved_and_counted(filled: Database) -> None:
    def work(connection: Connection) -> None:
        def versions(place: Place) -> list[str]:
            return [one.upload.id for one in paths.versions(connection, place, most=10)]

        assert versions(A) == ["a3", "a2", "a1"]
        assert [one.id for one in paths.oldest(connection, A, most=2)] == ["a1", "a2"]
        assert [one.id for one in paths.surplus(connection, A, kept=1, most=10)] == ["a1", "a2"]
        assert paths.surplus(connection, A, kept=3, most=10) == []
        assert [one.id for one in paths.processing(connection, A, most=10)] == ["laba.txt"]
        assert paths.version(connection, A, "b1") is None
        assert paths.spaces(connection, after="", most=10) == (["lab", "Übung"], None)
        assert paths.spaces(connection, after="lab", most=1) == (["Übung"], "Übung")
        assert paths.crowded(connection, kept=1, after=Place("", ""), most=10) == ([A, C], None)
        assert paths.crowded(connection, kept=1, after=A, most=1) == ([C], C)
        assert paths.carry(connection, C, A) == 2
        assert versions(A) == ["c2", "c1", "a3", "a2", "a1"]
        assert versions(C) == []
        moved = paths.current(connection, A)
        assert moved is not None
        assert (moved.space, moved.file_path, moved.filename) == ("lab", "a.txt", "a.txt")
        paths.bring_up(connection, paths.oldest(connection, A, most=1)[0], A)
        assert versions(A) == ["a1", "c2", "c1", "a3", "a2"]

    await filled.write(work)
