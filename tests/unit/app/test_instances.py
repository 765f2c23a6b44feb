"""What several instances need, and are told when it is not there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from penstock.app.folder import locked_folder
from penstock.app.garbage import open_collector
from penstock.app.instances import (
    check_same_installation,
    check_same_place,
    database_of,
    delivery_key,
    machine,
    open_leases,
)
from penstock.blobs.sharing import SupportsIdentity
from penstock.db import Database
from penstock.delivery.sending.tokens import KEY_BYTES
from penstock.errors import ConfigurationError
from penstock.ids import new_upload_id
from penstock.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

    from tests.servers.postgres import PostgresServer

URL = {"PENSTOCK_DATABASE_URL": "postgresql://penstock@127.0.0.1:1/penstock"}
NATS = {"PENSTOCK_BUS": "nats"}


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "PENSTOCK_BUS=nats"),
        (NATS | {"PENSTOCK_STORE": "memory"}, "PENSTOCK_STORE=sqlite"),
        ({"PENSTOCK_DATABASE_URL": "mysql://x/y"}, "not supported"),
    ],
)
def test_what_does_not_go_with_several_instances_is_refused(
    tmp_path: Path, environment: dict[str, str], said: str
) -> None:
    settings = load_settings(environ=URL | environment, folder=tmp_path)
    with pytest.raises(ConfigurationError, match=said):
        database_of(settings)


def test_one_instance_has_a_file(tmp_path: Path) -> None:
    assert not database_of(load_settings(environ={}, folder=tmp_path)).is_shared
    assert database_of(load_settings(environ=URL | NATS, folder=tmp_path)).is_shared


async def test_folder_and_database_belong_together(tmp_path: Path) -> None:
    ours, other = tmp_path / "ours", tmp_path / "other"
    for folder in (ours, other):
        folder.mkdir()
    async with Database(f"sqlite:///{tmp_path / 'a.db'}") as database:
        await asyncio.gather(*(check_same_installation(database, ours) for _ in range(5)))
        with pytest.raises(ConfigurationError, match="not the folder"):
            await check_same_installation(database, other)
        assert [path.name for path in ours.iterdir()] == ["installation"]
        assert list(other.iterdir()) == []


class Place(SupportsIdentity):
    """A place for bytes that has a name once somebody has made one."""

    def __init__(self) -> None:
        self.name = ""

    async def identity(self, *, make: bool) -> str:
        if make and not self.name:
            self.name = new_upload_id()
        return self.name


async def test_the_place_for_staged_objects_and_database_belong_together(tmp_path: Path) -> None:
    ours, other = Place(), Place()
    async with Database(f"sqlite:///{tmp_path / 'a.db'}") as database:
        await check_same_installation(database, tmp_path)  # it was staged in a folder before
        await asyncio.gather(*(check_same_place(database, ours) for _ in range(5)))
        with pytest.raises(ConfigurationError, match=f"write {ours.name} to the object"):
            await check_same_place(database, other)
        await check_same_installation(database, tmp_path)
    assert ours.name
    assert other.name == ""


async def test_all_instances_sign_with_the_same_key(tmp_path: Path) -> None:
    async with Database(f"sqlite:///{tmp_path / 'a.db'}") as database:
        key, *others = await asyncio.gather(*(delivery_key(database) for _ in range(3)))
    assert others == [key, key]
    assert len(key) == KEY_BYTES


def test_the_folder_is_shared_by_those_who_mean_it(tmp_path: Path) -> None:
    with locked_folder(tmp_path, shared=True):
        with locked_folder(tmp_path, shared=True):
            pass
        with pytest.raises(ConfigurationError, match="database_url"), locked_folder(tmp_path):
            pass


async def test_nobody_collects_garbage_beside_instances(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="one of them"):
        async with open_collector(load_settings(environ=URL, folder=tmp_path)):
            pass


def test_a_machine_is_the_same_for_all_of_its_processes() -> None:
    assert machine() == machine() != ""


async def test_leases_keep_a_connection_to_change_them_and_one_for_signs_of_life(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    url = postgres.url(postgres.new_database())
    environment = NATS | {"PENSTOCK_DATABASE_URL": url.render_as_string(hide_password=False)}
    settings = load_settings(environ=environment, folder=tmp_path)

    def connected(connection: Connection) -> int:
        counted = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        return int(connection.exec_driver_sql(counted).scalar_one())

    async with Database(url) as database:
        before = await database.find(connected)
        async with open_leases(settings, database) as leases:
            assert await leases.beat() is False
            assert await leases.asked() == []
            assert await database.find(connected) == before + 2
