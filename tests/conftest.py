"""What holds for every test: where it may connect, what it may run beside, how long properties are tried."""

from __future__ import annotations

import gc
import ipaddress
import os
import ssl
import sys
import uuid
from collections import Counter
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from httpx._config import DEFAULT_TIMEOUT_CONFIG
from hypothesis import HealthCheck, settings
from nats.aio.transport import TcpTransport

from tests import tables
from tests.memory import folder_in_memory
from tests.servers import copies
from tests.servers.azurite import AzuriteServer, running_azurite
from tests.servers.fake_gcs import FakeGcs, running_fake_gcs
from tests.servers.nats import NatsServer, running_nats
from tests.servers.postgres import PostgresServer, running_postgres
from tests.servers.s3 import S3Server, running_s3

TESTS = Path(__file__).parent

# Each store of bytes has hundreds of folders, and a database waits for the disk at each commit: in memory, most of the
# waiting is gone. PYTEST_DEBUG_TEMPROOT=/tmp has the tests use the disk all the same.
if memory := folder_in_memory():
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))

# What starts servers, waits and measures comes first, longest first: at the end, short tests fill what is left of each
# worker's time.
FIRST = (
    "crash/test_kill.py",
    "crash/test_services.py",
    "crash/test_waiting.py",
    "e2e/test_load.py",
    "crash",
    "clients",
    "e2e",
    "tus",
    "resumable",
    "wire",
    "contract",
)
# The fixtures that these folders share have a server on each of several storages: what runs on one makes a group.
BY_STORAGE = ("tus", "resumable")
NO_STORAGE = ""
# Here no two tests share a server, and they are many: a group for each so many of them.
SPLIT = {"crash/test_faults.py": 40}

# quick: while writing code. ci: the same examples every time. long: before a release. HYPOTHESIS_PROFILE chooses.
_slow_disk = [HealthCheck.too_slow]
settings.register_profile("quick", max_examples=50, deadline=None, suppress_health_check=_slow_disk)
settings.register_profile(
    "ci", max_examples=100, deadline=None, derandomize=True, print_blob=True, suppress_health_check=_slow_disk
)
settings.register_profile("long", max_examples=5000, deadline=None, suppress_health_check=_slow_disk)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Have no garbage looked for among thousands of tests, now or later: they are all kept to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves out what is the same on every storage, makes groups for xdist's `loadgroup`, and puts them in order.

    A group is a file: its fixtures are set up once, by one worker, and nothing else of it runs beside a test.
    """
    items[:] = [item for item in items if not _shows_nothing_new(item)]
    items.sort(key=_rank)
    numbers: Counter[str] = Counter()
    for item in items:
        file = _file(item)
        numbers[file] += 1
        item.add_marker(pytest.mark.xdist_group(_group(item, file, numbers[file])))


def _shows_nothing_new(item: pytest.Item) -> bool:
    """Whether it is marked as one whose outcome no storage can change, and runs on the local one as well.

    So are marked: what is refused for its headers, before a byte of it is looked at; what headers of an answer say of
    the server itself; and what is kept in the database. All that depends on bytes that were sent runs on each storage.
    """
    return item.get_closest_marker("any_storage") is not None and _storage(item) not in {"local", NO_STORAGE}


def _storage(item: pytest.Item) -> str:
    """The storage that the server of a shared fixture has."""
    folder = _file(item).partition("/")[0]
    if folder not in BY_STORAGE or not hasattr(item, "callspec"):
        return NO_STORAGE
    found: str = item.callspec.params.get(f"{folder}_server", NO_STORAGE)
    return found


def _file(item: pytest.Item) -> str:
    return _below_tests(item.path)


@cache
def _below_tests(path: Path) -> str:
    return path.relative_to(TESTS).as_posix()


def _rank(item: pytest.Item) -> int:
    file = _file(item)
    return next((rank for rank, first in enumerate(FIRST) if file.startswith(first)), len(FIRST))


def _group(item: pytest.Item, file: str, number: int) -> str:
    if (storage := _storage(item)) != NO_STORAGE:
        return f"{file.partition('/')[0]} {storage}"
    if file in SPLIT:
        return f"{file} {number // SPLIT[file]}"
    return file


@pytest.fixture(scope="session", autouse=True)
def tables_made_once() -> Iterator[None]:
    """Make the tables of a new SQLite database as the first one got them.

    `tests/unit/db`, and every server that is a process of its own, make theirs as everybody does.
    """
    with tables.made_once():
        yield


@pytest.fixture(scope="session", autouse=True)
def original_ended() -> Iterator[None]:
    """End the process that servers are copied from, if there was one."""
    yield
    copies.ORIGINAL.end()


@pytest.fixture(autouse=True)
def logs_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what a command under test has made of the log: it takes its process for its own, and loggers remember."""
    configure = structlog.configure
    monkeypatch.setattr("structlog.configure", lambda **how: configure(**{**how, "cache_logger_on_first_use": False}))
    yield
    structlog.reset_defaults()


def _trusting_nobody(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
    if verify is True and cert is None and not (trust_env and os.environ.get("SSL_CERT_FILE")):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.create_ssl_context(verify, cert, trust_env)


# Whoever asks without a limit of its own waits as long as the slowest machine may need, rather than five seconds.
for limit in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, limit, 120.0)


class _Tidy(TcpTransport):
    """Closes what is left of an attempt to connect that was not answered in time: it is a warning when collected."""

    async def connect(self, *where: Any, **how: Any) -> None:
        self.close()  # type: ignore[no-untyped-call]
        await super().connect(*where, **how)


# For the clients of tests; the product has its own.
pytest.MonkeyPatch().setattr("nats.aio.client.TcpTransport", _Tidy)

# Each `httpx.get` would read all certificates of the system, 22 ms of CPU time, to ask this machine in plain HTTP.
pytest.MonkeyPatch().setattr("httpx._transports.default.create_ssl_context", _trusting_nobody)


class LeftThisMachine(AssertionError):
    """A test tried to reach another machine. Tests talk to 127.0.0.1 only."""


def _is_here(host: str) -> bool:
    if host in {"", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _stay_on_this_machine(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and not _is_here(str(address[0])):
            raise LeftThisMachine(f"a test connects to {address}")


sys.addaudithook(_stay_on_this_machine)


# One server of a kind for all tests that neither stop it nor look at more than what is their own in it.


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzuriteServer]:
    with running_azurite(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture(scope="session")
def fake_gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeGcs]:
    with running_fake_gcs(tmp_path_factory.mktemp("gcs")) as fake:
        yield fake


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def new_bucket() -> str:
    """The name of a bucket that nobody else has."""
    return f"b{uuid.uuid4().hex}"
