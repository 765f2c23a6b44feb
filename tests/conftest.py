"""What holds for every test: where it may connect, what it may run beside, how long properties are tried."""

from __future__ import annotations

import ipaddress
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.servers.nats import NatsServer, running_nats

TESTS = Path(__file__).parent

# Tests in these folders start servers, kill them, and measure: those of one folder run one after the other.
ONE_AT_A_TIME = ("clients", "crash", "e2e", "tus")
# These have servers that nobody connects to, and are many.
SIDE_BY_SIDE = {TESTS / "crash" / "test_faults.py"}

# quick: while writing code. ci: the same examples every time. long: before a release. HYPOTHESIS_PROFILE chooses.
_slow_disk = [HealthCheck.too_slow]
settings.register_profile("quick", max_examples=50, deadline=None, suppress_health_check=_slow_disk)
settings.register_profile(
    "ci", max_examples=100, deadline=None, derandomize=True, print_blob=True, suppress_health_check=_slow_disk
)
settings.register_profile("long", max_examples=5000, deadline=None, suppress_health_check=_slow_disk)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests of a folder that wants the machine for itself into one group for xdist's `loadgroup`."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in ONE_AT_A_TIME and item.path not in SIDE_BY_SIDE:
            item.add_marker(pytest.mark.xdist_group(folder))


@pytest.fixture(autouse=True)
def logs_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what a command under test has made of the log: it takes its process for its own, and loggers remember."""
    configure = structlog.configure
    monkeypatch.setattr("structlog.configure", lambda **how: configure(**{**how, "cache_logger_on_first_use": False}))
    yield
    structlog.reset_defaults()


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


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """One nats-server for all tests that neither stop it nor look at more than their own buckets and streams."""
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def new_bucket() -> str:
    """The name of a bucket that nobody else has."""
    return f"b{uuid.uuid4().hex}"
