"""Azurite, Microsoft's own server for tests of Azure Blob Storage, on a free port and in a temporary folder."""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from penstock.blobs.objects import AzurePlace
from tests.servers.ports import free_port
from tests.servers.process import ServerProcess, running

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

ACCOUNT = "devstoreaccount1"
KEY = base64.b64encode(b"a key that only this server takes, of the length of real ones   ").decode()
VERSION = "2021-08-06"
PACKAGES = Path(__file__).parent / "node"


class AzuriteServer(ServerProcess):
    """One server, and a client that looks behind the product's back."""

    def __init__(self, folder: Path, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
        self._port = port
        super().__init__(folder / "azurite.log")
        self._folder = folder
        self._containers = 0

    def launch(self) -> None:
        program = PACKAGES / "node_modules" / ".bin" / "azurite-blob"
        if shutil.which("node") is None:
            pytest.fail("node is not installed: Debian's package nodejs has it")
        if not program.exists():
            pytest.fail(f"{program} is missing: `scripts/setup test` installs it")
        place = ["--blobHost", "127.0.0.1", "--blobPort", str(self._port), "--location", str(self._folder / "azurite")]
        environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
        self.run([program, *place, "--skipApiVersionCheck", "--disableTelemetry"], environment)

    def comes_up(self) -> bool:
        return self.answers(lambda: self._ask("GET", "", "comp=list"), OSError)

    def place(self, container: str) -> AzurePlace:
        """What the product keeps files with in a container."""
        return AzurePlace(container, endpoint=self.endpoint, account=ACCOUNT, account_key=KEY)

    def new_container(self) -> str:
        """Make a container of its own for somebody."""
        self._containers += 1
        name = f"container-{self._containers}"
        self._ask("PUT", f"/{name}", "restype=container")
        return name

    def content(self, container: str, key: str) -> bytes | None:
        """What an object holds; None: there is none."""
        try:
            return self._ask("GET", f"/{container}/{key}")
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return None

    def _ask(self, method: str, path: str, query: str = "") -> bytes:
        headers = {"x-ms-date": f"{datetime.now(UTC):%a, %d %b %Y %H:%M:%S GMT}", "x-ms-version": VERSION}
        named = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
        resource = f"/{ACCOUNT}/{ACCOUNT}{path}" + "".join(f"\n{part.replace('=', ':')}" for part in query.split("&"))
        text = f"{method}{chr(10) * 12}{named}{resource.rstrip()}"
        signature = base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{signature}"
        headers["Content-Length"] = "0"
        request = urllib.request.Request(  # noqa: S310  it is http
            f"{self.endpoint}{path}{'?' if query else ''}{query}", headers=headers, method=method
        )
        with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310  it is http
            body: bytes = answer.read()
            return body


def running_azurite(folder: Path) -> AbstractContextManager[AzuriteServer]:
    """Run a server whose files, and what it says, are in `folder`."""
    return running(lambda: AzuriteServer(folder, free_port()), "Azurite")
