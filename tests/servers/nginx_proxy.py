"""nginx with TLS, set up as `examples/nginx.conf` says, on a free port and in a temporary folder."""

from __future__ import annotations

import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.servers.ports import free_ports
from tests.servers.process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "nginx.conf"
_AROUND = """\
daemon off;
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


class NginxProxy(ServerProcess):
    """One nginx before a server on this machine."""

    def __init__(self, folder: Path, upstream_port: int) -> None:
        super().__init__(folder / "nginx.log")
        self.port = free_ports(1)[0]
        self.url = f"https://localhost:{self.port}"
        self.certificate = folder / "certificate.pem"
        self._folder = folder
        self._upstream_port = upstream_port

    def launch(self) -> None:
        program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        if program is None:
            pytest.fail("nginx is not installed: Debian's package nginx-light has it")
        key = self._folder / "key.pem"
        make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        make += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(self.certificate)]
        subprocess.run(make, check=True, capture_output=True)
        configuration = self._folder / "nginx.conf"
        configuration.write_text(_AROUND.format(folder=self._folder, site=self._site(key)))
        self.run([program, "-c", configuration, "-p", self._folder])

    def _site(self, key: Path) -> str:
        """The example, with the places and ports of this machine."""
        site = EXAMPLE.read_text()
        for theirs, ours in {
            "127.0.0.1:8080": f"127.0.0.1:{self._upstream_port}",
            "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            "server_name files.example.org": "server_name localhost",
            "/etc/ssl/certs/files.example.org.pem": str(self.certificate),
            "/etc/ssl/private/files.example.org.key": str(key),
        }.items():
            assert site.count(theirs) == 1, f"{theirs} is not, or not once, in {EXAMPLE}"
            site = site.replace(theirs, ours)
        return site

    def comes_up(self) -> bool:
        return self.answers(lambda: socket.create_connection(("127.0.0.1", self.port), 1).close(), OSError)


@contextmanager
def running_proxy(folder: Path, upstream_port: int) -> Iterator[NginxProxy]:
    """Run one whose files are in `folder`."""
    folder.mkdir(exist_ok=True)
    words = ""
    for _ in range(3):  # somebody may take the port between our looking and its listening
        server = NginxProxy(folder, upstream_port)
        server.launch()
        try:
            if server.comes_up():
                yield server
                return
            words = server.last_words()
        finally:
            server.stop()
    pytest.fail(f"nginx did not come up:\n{words}")
