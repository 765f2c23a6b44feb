"""tuspyserver under granian: python tus_python.py PORT FOLDER."""

from __future__ import annotations

import asyncio
import sys

from fastapi import FastAPI
from granian.constants import Interfaces
from granian.server.embed import Server
from tuspyserver import create_tus_router


async def main() -> None:
    """Serve until ended."""
    port, folder = int(sys.argv[1]), sys.argv[2]
    app = FastAPI()
    app.include_router(create_tus_router(prefix="files", files_dir=folder, max_size=1 << 40))
    await Server(app, address="127.0.0.1", port=port, interface=Interfaces.ASGINL, log_enabled=False).serve()


if __name__ == "__main__":
    asyncio.run(main())
