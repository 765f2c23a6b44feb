"""Uploads a file by tuspy: `python tuspy_upload.py FILE ENDPOINT PIECE_BYTES`. Prints the upload's URL."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import requests
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

TRIES = 600


def main() -> None:
    """Upload; whenever the line breaks, go on from where the server stands."""
    file, endpoint, piece = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    client = TusClient(endpoint)
    url: str | None = None
    for _ in range(TRIES):
        try:
            uploader = client.uploader(
                str(file), chunk_size=piece, url=url, metadata={"filename": file.name}, retries=3, retry_delay=0
            )
            url = url or uploader.create_url()
            uploader.set_url(url)
            uploader.offset = uploader.get_offset()
            uploader.upload()
        except (TusCommunicationError, requests.RequestException) as error:
            sys.stderr.write(f"again: {error}\n")
            time.sleep(0.3)
        else:
            sys.stdout.write(url)
            return
    sys.exit("given up")


if __name__ == "__main__":
    main()
