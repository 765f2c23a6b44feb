"""Files above a limit, through a whole server: what is set for them happens, is told, and they can be deleted."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import httpx
import pytest

from penstock.antivirus.eicar import eicar
from tests.servers.clamd import running_clamd
from tests.servers.penstock import PenstockServer

MIB = 1024 * 1024
SCANNER_LIMIT = MIB
"""Above, clamd does not look."""
SET_LIMIT = 2 * MIB
"""Above, files are not to be scanned whole."""
BOUND_SECONDS = 120


class Case(NamedTuple):
    server: str
    body: bytes
    phase: str
    remark: str
    infected: bool = False


OVER_SCANNER, OVER_SET = eicar() + bytes(SCANNER_LIMIT), eicar() + bytes(SET_LIMIT)
SERVERS = {
    "skip": {"ANTIVIRUS_SCANNER_TYPE": "clamav", "PENSTOCK_ANTIVIRUS_TOO_LARGE_FILE_HANDLING": "continue"},
    "reject": {"ANTIVIRUS_SCANNER_TYPE": "clamav", "PENSTOCK_ANTIVIRUS_TOO_LARGE_FILE_HANDLING": "delete"},
    "partial": {"ANTIVIRUS_SCANNER_TYPE": "yara"},
}
CASES = {
    "passed over": Case("skip", OVER_SET, "released", "not scanned: larger than 2097152 bytes"),
    "released although the scanner does not look": Case("skip", OVER_SCANNER, "released", "not scanned"),
    "turned away": Case("reject", OVER_SET, "rejected", "not scanned: larger than 2097152 bytes"),
    "removed for the scanner does not look": Case("reject", OVER_SCANNER, "deleted", "not scanned"),
    "scanned in part": Case(
        "partial", bytes(SET_LIMIT) + eicar(), "released", "scanned in part: the first 2097152 bytes"
    ),
    "found in the part": Case("partial", OVER_SET, "deleted", "", infected=True),
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], PenstockServer]]:
    """Start a server for each mode when it is first asked for, all with one clamd."""
    limits = dict.fromkeys(("MaxFileSize", "MaxScanSize", "StreamMaxLength"), "1M")
    with ExitStack() as stack:
        clamd = stack.enter_context(running_clamd(tmp_path_factory.mktemp("clamd"), **limits))

        @functools.cache
        def start(mode: str) -> PenstockServer:
            environment = SERVERS[mode] | {
                "ANTIVIRUS_CLAMAV_SOCKET": clamd.unix_address,
                "PENSTOCK_ANTIVIRUS_CLAMAV_MAX_FILE_SIZE": str(SCANNER_LIMIT),
                "ANTIVIRUS_MAX_SCAN_SIZE": str(SET_LIMIT),
                "ANTIVIRUS_MAX_SCAN_SIZE_MODE": mode,
            }
            return stack.enter_context(PenstockServer(tmp_path_factory.mktemp(mode), **environment))

        yield start


@pytest.mark.parametrize("name", CASES)
def test_what_becomes_of_a_file(servers: Callable[[str], PenstockServer], name: str) -> None:
    case = CASES[name]
    server = servers(case.server)
    with httpx.Client(base_url=server.url, trust_env=False, timeout=120) as client:
        upload_id = client.put("/files/large.bin", content=case.body).json()["id"]
        path = f"/api/v1/uploads/{upload_id}"
        view = until(client, path, lambda view: view["phase"] != "processing")
        assert view["scan"]["end"] == ("infected" if case.infected else "too-large")
        assert (view["phase"], view["scan"]["infected"]) == (case.phase, case.infected), view
        assert case.remark in view["scan"]["error"]
        content = client.get(f"/api/v1/files/{upload_id}/content")
        if case.phase == "released":
            assert content.content == case.body
        else:
            assert content.status_code >= 400
        assert client.delete(path).status_code == 204
        until(client, path, lambda view: view["phase"] in ("cancelled", "deleted"))
        assert client.get(f"/api/v1/files/{upload_id}/content").status_code >= 400


def until(client: httpx.Client, path: str, happened: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    ends_at = time.monotonic() + BOUND_SECONDS
    while not happened(view := dict(client.get(path).json())):
        assert time.monotonic() < ends_at, view
        time.sleep(0.01)
    return view
