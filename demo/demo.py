"""Penstock's main job on real files, with a kill -9 in the middle.

Makes files, starts a server that scans, makes thumbnails and waits a little, uploads everything, kills the server while
the large file is on its way and others are being processed, starts it again, and looks what has become of each file.
Ends with status 0 only if every file but the virus was released with the bytes that it had.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

from penstock.antivirus.eicar import eicar
from penstock.sizes import readable_size

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
LARGE_BYTES = 1024**3
GIVE_UP_SECONDS = 900.0
"""It takes half a minute on a machine that does nothing else, and several on one that is busy."""
START_SECONDS = 120.0
console = Console()


def main() -> int:
    """Run the demonstration; return the exit status."""
    begin = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="penstock-demo-"))
    server = Server(folder)
    try:
        say("1", "Making files: a text, a picture, a PDF, an archive, 1 GiB of data, and the EICAR test virus.")
        files = make_files(folder / "files")
        say("2", f"Starting the server at {server.url}. Steps: virusscan (YARA), thumbnail (Python), delay (2 s).")
        server.start()
        say("3", "Uploading all of them by tus. At 40 % of the large file the server is killed with -9.")
        status, killed = upload_and_kill(server, files, begin)
        say("4", "Looking what has become of each file.")
        ok = show(server, files, folder / "thumbnails") and killed and status in (0, 1)
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
    seconds = time.monotonic() - begin
    console.print(
        f"[bold green]All as it should be[/], after {seconds:.0f} s and one kill -9."
        if ok
        else f"[bold red]Something is not as it should be[/] ({seconds:.0f} s)."
    )
    return 0 if ok else 1


class Server:
    """A `penstock serve` of our own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.url = f"http://{self._address}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.api = httpx.Client(base_url=f"{self.url}/api/v1", timeout=30, trust_env=False)

    def start(self) -> None:
        """Start it and wait until it is ready."""
        settings = {
            "POSTPROCESSING_STEPS": "virusscan,thumbnail,delay",
            "POSTPROCESSING_DELAY": "2s",
            "PENSTOCK_LOG_LEVEL": "warning",
            "THUMBNAILS": str(self._folder / "thumbnails"),
        }
        command = [sys.executable, "-m", "penstock", "serve", "--data-dir", str(self._folder / "data")]
        command += ["--http-addr", self._address, "--steps", str(EXAMPLES / "thumbnails.py")]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, env=os.environ | settings, stderr=log, stdout=log)
        ends_at = time.monotonic() + START_SECONDS
        while time.monotonic() < ends_at and self._process.poll() is None:
            try:
                if httpx.get(f"{self.url}/readyz", trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise SystemExit(f"the server does not start:\n{self.last_words()}")

    def last_words(self) -> str:
        """Return the end of its log."""
        return "\n".join((self._folder / "server.log").read_text().splitlines()[-20:]) or "(none)"

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def uploads(self) -> list[dict[str, Any]]:
        """Return all uploads."""
        found: list[dict[str, Any]] = self.api.get("/uploads").json()["uploads"]
        return found


def say(number: str, sentence: str) -> None:
    """Tell what happens next."""
    console.print(f"[bold cyan]{number}[/] {sentence}", highlight=False)


def make_files(folder: Path) -> list[Path]:
    """Write real files of several kinds."""
    folder.mkdir()
    text = folder / "notes.txt"
    text.write_text("Penstock holds each file back until its steps have passed it.\n" * 200)
    picture = folder / "picture.png"
    image = Image.new("RGB", (1600, 1000), "#0f4c5c")
    pen = ImageDraw.Draw(image)
    for line in range(0, 1600, 40):
        pen.line([(line, 0), (1600 - line, 1000)], fill=(line % 255, 200, 220), width=3)
    image.save(picture)
    document = folder / "document.pdf"
    image.resize((800, 500)).save(document, "PDF")
    archive = folder / "archive.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(text, "notes.txt")
        packed.write(picture, "picture.png")
    large = folder / "large.bin"
    with large.open("wb") as out:
        block = os.urandom(4 * 1024**2)
        for number in range(LARGE_BYTES // len(block)):
            out.write(number.to_bytes(8, "big") + block[8:])
    virus = folder / "virus.com"
    virus.write_bytes(eicar())
    return [large, text, picture, document, archive, virus]


def upload_and_kill(server: Server, files: list[Path], begin: float) -> tuple[int, bool]:
    """Run `penstock upload`, and kill and restart the server meanwhile; return its status, and whether we killed."""
    command = [sys.executable, "-m", "penstock", "upload", "--url", server.url, "--wait", "--parallel", "6"]
    environment = os.environ | {"XDG_STATE_HOME": str(files[0].parent.parent / "state")}
    uploading = subprocess.Popen([*command, *map(str, files)], env=environment)
    killed = False
    try:
        while uploading.poll() is None:
            if time.monotonic() - begin > GIVE_UP_SECONDS:
                raise SystemExit(
                    f"it takes too long: given up after {GIVE_UP_SECONDS / 60:.0f} minutes. Is this machine busy, "
                    f"or its disk full? The server's last words:\n{server.last_words()}"
                )
            if not killed and _far_enough(server):
                server.kill()
                killed = True
                console.print("[bold red]kill -9[/] … and start again: the upload goes on by itself.")
                server.start()
            time.sleep(0.05)
    finally:
        if uploading.poll() is None:
            uploading.kill()
            uploading.wait()
    return uploading.returncode, killed


def _far_enough(server: Server) -> bool:
    uploads = {one["filename"]: one for one in server.uploads()}
    large = uploads.get("large.bin")
    busy = any(one["phase"] == "processing" for one in uploads.values())
    return large is not None and busy and large["offset"] > 0.4 * LARGE_BYTES


def show(server: Server, files: list[Path], thumbnails: Path) -> bool:
    """Print a row per file; return whether all is as it should be."""
    table = Table("file", "size", "phase", "remark", "served", "right?")  # fits into 80 columns
    uploads = {one["filename"]: one for one in server.uploads()}
    verdicts = []
    for file in files:
        upload = uploads[file.name]
        infected = file.name == "virus.com"
        served = _served(server, upload["id"])
        right = served is None and upload["phase"] == "deleted" if infected else served == _sha256(file)
        verdicts.append(right)
        shown = "none" if served is None else "same SHA-256" if right else "DIFFERENT"
        mark = "[green]yes[/]" if right else "[red]NO[/]"
        table.add_row(file.name, readable_size(file.stat().st_size), upload["phase"], upload["reason"], shown, mark)
    console.print(table)
    staged = [path for path in (thumbnails.parent / "data" / "blobs" / "staged").rglob("*") if path.is_file()]
    made = list(thumbnails.glob("*.png"))
    console.print(f"Thumbnails made: {len(made)}. Files left in staging: {len(staged)}.")
    return all(verdicts) and len(made) == 1 and not staged


def _served(server: Server, upload_id: str) -> str | None:
    digest = hashlib.sha256()
    with server.api.stream("GET", f"/files/{upload_id}/content") as answer:
        if answer.status_code != 200:
            return None
        for piece in answer.iter_bytes(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _sha256(file: Path) -> str:
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())
