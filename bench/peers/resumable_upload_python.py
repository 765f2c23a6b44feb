"""resumable-upload as its own command runs it: python resumable_upload_python.py PORT FOLDER."""

from __future__ import annotations

import runpy
import sys


def main() -> None:
    """Serve until ended, by threads, with files in a folder and what is known of them in SQLite."""
    port, folder = sys.argv[1:]
    where = ["--host", "127.0.0.1", "--port", port, "--base-path", "/files"]
    kept = ["--upload-dir", f"{folder}/uploads", "--db-path", f"{folder}/uploads.db", "--log-level", "ERROR"]
    sys.argv = ["resumable-upload", "serve", *where, *kept]
    runpy.run_module("resumable_upload", run_name="__main__")


if __name__ == "__main__":
    main()
