"""nginx on a free port and in a temporary folder: in front of Penstock with TLS, or taking files by PUT as a worker."""

from __future__ import annotations

import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.servers.ports import free_port
from tests.servers.process import ServerProcess, running
from tests.servers.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

EXAMPLE: Final = Path(__file__).parent.parent.parent / "examples" / "nginx.conf"
_AROUND: Final = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {site}
}}
"""
_TAKES_FILES: Final = """
server {{
    listen 127.0.0.1:{port};
    client_max_body_size 0;
    location /files/ {{
        root {folder};
        dav_methods PUT;
        create_full_put_path on;
    }}
}}
"""


class Nginx(ServerProcess):
    """One process with one site; `site` gives the site's configuration for a port."""

    def __init__(self, folder: Path, site: Callable[[int], str]) -> None:
        super().__init__(folder / "nginx.log")
        self.port = free_port()
        self._folder = folder
        self._site = site

    def launch(self) -> None:
        program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        if program is None:
            pytest.fail("nginx is not installed: Debian's package nginx-light has it")
        configuration = self._folder / "nginx.conf"
        configuration.write_text(_AROUND.format(folder=self._folder, site=self._site(self.port)))
        self.run([program, "-c", configuration, "-p", self._folder, "-e", self._folder / "nginx.log"])

    def comes_up(self) -> bool:
        return self.answers(lambda: socket.create_connection(("127.0.0.1", self.port), 1).close(), OSError)


def _running(folder: Path, site: Callable[[int], str]) -> AbstractContextManager[Nginx]:
    folder.mkdir(parents=True, exist_ok=True)
    return running(lambda: Nginx(folder, site), "nginx")


@contextmanager
def running_nginx(folder: Path) -> Iterator[Receiver]:
    """Run one that puts into a folder what it is sent by PUT."""
    (folder / "files").mkdir(parents=True)
    with _running(folder, lambda port: _TAKES_FILES.format(port=port, folder=folder)) as server:
        assert server.process is not None
        yield Receiver(f"http://127.0.0.1:{server.port}/files", folder / "files", server.process.pid)


class Proxy:
    """Where one is that stands in front of a server."""

    def __init__(self, port: int, certificate: Path) -> None:
        self.url = f"https://localhost:{port}"
        self.certificate = certificate


@contextmanager
def running_proxy(folder: Path, upstream_port: int) -> Iterator[Proxy]:
    """Run one with TLS in front of a server on this machine, set up as `examples/nginx.conf` says."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    make += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(make, check=True, capture_output=True)

    def site(port: int) -> str:
        """The example, with the places and ports of this machine."""
        text = EXAMPLE.read_text()
        for theirs, ours in {
            "127.0.0.1:8080": f"127.0.0.1:{upstream_port}",
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "server_name files.example.org": "server_name localhost",
            "/etc/ssl/certs/files.example.org.pem": str(certificate),
            "/etc/ssl/private/files.example.org.key": str(key),
        }.items():
            assert text.count(theirs) == 1, f"{theirs} is not, or not once, in {EXAMPLE}"
            text = text.replace(theirs, ours)
        return text

    with _running(folder, site) as server:
        yield Proxy(server.port, certificate)
