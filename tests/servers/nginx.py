"""A plain nginx that takes files by PUT, as a worker may have it in front of a folder."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .ports import free_port
from .receiver import Receiver

_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 0;
        location /files/ {{
            root {folder};
            dav_methods PUT;
            create_full_put_path on;
        }}
    }}
}}
"""


@contextmanager
def running_nginx(folder: Path) -> Iterator[Receiver]:
    binary = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    assert binary is not None, "nginx is missing: apt-get install nginx-light"
    (folder / "files").mkdir(parents=True)
    port = free_port()
    (folder / "nginx.conf").write_text(_CONFIGURATION.format(folder=folder, port=port))
    command = [binary, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + 20
            while time.monotonic() < end and process.poll() is None:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.02)
            else:
                raise AssertionError(f"nginx does not listen: {(folder / 'error.log').read_text()}")
            yield Receiver(f"http://127.0.0.1:{port}/files", folder / "files", process.pid)
        finally:
            process.kill()
