"""A scanner that worked and then misses viruses, while it answers as ever: nothing is let through from that moment on.

`penstock antivirus server` as a process, with real NATS and real clamd.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from penstock.antivirus.eicar import eicar
from penstock.testing import eventually
from tests.servers.cicap import running_cicap
from tests.servers.clamd import Clamd
from tests.servers.nats import NatsServer
from tests.servers.single import SingleService, running_services
from tests.servers.storage import Storage
from tests.wire.scanning import Platform, start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SERVER = ("antivirus", "server")


def restart(clamd: Clamd) -> None:
    clamd.stop()
    clamd.start_again()


def is_ready(service: SingleService) -> bool:
    return httpx.get(f"{service.url}/readyz", timeout=120, trust_env=False).status_code == 200


@pytest.mark.parametrize(
    ("change", "by_icap"), [(restart, False), (Clamd.reload, True)], ids=["clamav-restarted", "icap-reloaded"]
)
async def test_nothing_passes_from_the_moment_on_at_which_eicar_is_missed(
    change: Callable[[Clamd], None],
    by_icap: bool,
    nats: NatsServer,
    clamd: Clamd,
    storage: Storage,
    platform: Platform,
    tmp_path: Path,
) -> None:
    (tmp_path / "icap").mkdir()
    with running_cicap(tmp_path / "icap", clamd) as cicap:
        environment = {
            "OCIS_EVENTS_ENDPOINT": nats.endpoint,
            "ANTIVIRUS_SCANNER_TYPE": "icap" if by_icap else "clamav",
            "ANTIVIRUS_ICAP_URL": cicap.url,
            "ANTIVIRUS_ICAP_SERVICE": "avscan",
            "PENSTOCK_ANTIVIRUS_ICAP_MAX_FILE_SIZE": "1MiB",
            "ANTIVIRUS_CLAMAV_SOCKET": clamd.unix_address,
            "PENSTOCK_ANTIVIRUS_CLAMAV_MAX_FILE_SIZE": "1MiB",
            "PENSTOCK_ANTIVIRUS_SELF_TEST_INTERVAL": "1h",  # none comes by chance
            "PENSTOCK_ANTIVIRUS_BREAKER_PAUSE": "1s",
        }
        virus, harmless = storage.put("/virus", eicar()), storage.put("/harmless", b"harmless")
        with running_services(tmp_path, 1, *SERVER, **environment) as [service]:
            assert (await platform.scan(harmless, 8))["Outcome"] == "continue"
            clamd.know(b"something else")
            await asyncio.to_thread(change, clamd)
            for number, (url, size_bytes) in enumerate([(virus, 68), (harmless, 8)] * 10):
                await platform.say(start(url, size_bytes, str(number)))
            held = [await platform.answer_to(str(number)) for number in range(20)]
            assert {answer["Outcome"] for answer in held} == {"retry"}
            assert "of the EICAR test file" in held[0]["Result"]["ErrorMsg"]
            assert not is_ready(service)
            clamd.know(eicar())
            await asyncio.to_thread(change, clamd)
            await eventually(lambda: is_ready(service), timeout_seconds=60)
            assert (await platform.scan(harmless, 8))["Outcome"] == "continue"
            assert (await platform.scan(virus, 68))["Outcome"] == "delete"
            await eventually(lambda: len(platform.resumed) == len(held), timeout_seconds=60)
            assert set(platform.resumed) == {answer["UploadID"] for answer in held}
