"""An uploader that nothing stops: it goes on through kills and restarts, as a good client does."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Self

import httpx

from penstock.antivirus.eicar import eicar

TUS = {"Tus-Resumable": "1.0.0"}
GIVE_UP_SECONDS = 400.0
PAUSE_SECONDS = 0.25
"""Between two tries at a server that is not there. It needs the machine to come up."""


@dataclass
class File:
    """What is to be uploaded, and what is to become of it."""

    number: int
    content: bytes = field(repr=False)
    infected: bool
    upload_id: str = ""
    pieces: int = 1

    @property
    def name(self) -> str:
        return f"file-{self.number:05}.bin"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def make_file(number: int, seed: int) -> File:
    chance = random.Random(f"{seed}/{number}")
    size = chance.choice([0, 1, 1000, 20_000, 100_000, 400_000])
    content = chance.randbytes(size)
    infected = number % 10 == 3
    if infected:
        content = content[: size // 2] + eicar() + content[size // 2 :]
    return File(number, content, infected, pieces=chance.randint(1, 6))


class Uploader:
    """Uploads files to a server that is killed again and again."""

    def __init__(self, url: str) -> None:
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=0)
        self.client = httpx.AsyncClient(base_url=url, timeout=60, limits=limits, trust_env=False)
        self.patches_cut = 0

    async def upload(self, file: File) -> None:
        """Create and send until the server has all of it."""
        async with asyncio.timeout(GIVE_UP_SECONDS):
            while not file.upload_id:
                file.upload_id = await self._create(file)
            while not await self._send(file):  # noqa: ASYNC110  a dead server says nothing by itself
                await asyncio.sleep(PAUSE_SECONDS)

    async def _create(self, file: File) -> str:
        name = base64.b64encode(file.name.encode()).decode()
        headers = {**TUS, "Upload-Length": str(len(file.content)), "Upload-Metadata": f"filename {name}"}
        try:
            answer = await self.client.post("/uploads/", headers=headers)
        except httpx.TransportError:
            await asyncio.sleep(PAUSE_SECONDS)
            return await self._adopt(file)
        assert answer.status_code == 201, (answer.status_code, answer.text)
        return answer.headers["Location"].rpartition("/")[2]

    async def _adopt(self, file: File) -> str:
        """Look whether the server has created the upload before it could say so."""
        answer = None
        while answer is None:
            try:
                answer = await self.client.get("/api/v1/uploads", params={"limit": 1000})
            except httpx.TransportError:
                await asyncio.sleep(PAUSE_SECONDS)
        assert answer.status_code == 200, answer.text
        return next((one["id"] for one in answer.json()["uploads"] if one["filename"] == file.name), "")

    async def _send(self, file: File) -> bool:
        try:
            head = await self.client.head(f"/uploads/{file.upload_id}", headers=TUS)
            if head.status_code == 410 and file.infected:
                return True  # complete, scanned and deleted already
            assert head.status_code == 200, (file, head.status_code)
            offset = int(head.headers["Upload-Offset"])
            if offset == len(file.content):
                return True
            answer = await self.client.patch(
                f"/uploads/{file.upload_id}",
                headers={
                    **TUS,
                    "Upload-Offset": str(offset),
                    "Content-Type": "application/offset+octet-stream",
                    "Content-Length": str(len(file.content) - offset),
                },
                content=_slowly(file.content[offset:], file.pieces),
            )
        except httpx.TransportError:
            self.patches_cut += 1
            return False
        return answer.status_code == 204

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.client.aclose()


async def _slowly(content: bytes, pieces: int) -> AsyncIterator[bytes]:
    size = max(1, len(content) // pieces)
    for start in range(0, len(content), size):
        yield content[start : start + size]
        await asyncio.sleep(0.02)
