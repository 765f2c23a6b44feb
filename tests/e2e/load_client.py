"""Sends many small uploads on connections that stay open: `python load_client.py PORT COUNT CONNECTIONS`."""

from __future__ import annotations

import asyncio
import sys

BODY = b"penstock" * 1280
HEAD = (
    f"POST /uploads/ HTTP/1.1\r\nHost: 127.0.0.1\r\nTus-Resumable: 1.0.0\r\nUpload-Length: {len(BODY)}\r\n"
    "Upload-Metadata: filename bG9hZC5iaW4=\r\nContent-Type: application/offset+octet-stream\r\n"
    f"Content-Length: {len(BODY)}\r\n\r\n"
)
REQUEST = HEAD.encode() + BODY


async def send(port: int, count: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(count):
        while True:
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            for line in head.split(b"\r\n"):
                if line.lower().startswith(b"content-length:"):
                    await reader.readexactly(int(line.partition(b":")[2]))
            if b" 201 " in head:
                break
            if b" 503 " not in head and b" 429 " not in head:
                sys.exit(f"unexpected answer: {head!r}")
            await asyncio.sleep(0.5)  # told to come back later
    writer.close()


async def main() -> None:
    port, count, connections = (int(one) for one in sys.argv[1:])
    async with asyncio.timeout(300), asyncio.TaskGroup() as tasks:
        for _ in range(connections):
            tasks.create_task(send(port, count // connections))


if __name__ == "__main__":
    asyncio.run(main())
