"""What many slow requests hold together."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from penstock.blobs.local import LocalBlobs
from penstock.blobs.local.sharing import BATCH_BYTES, HELD_BYTES, LEAST_BYTES, Sharing
from penstock.ids import new_upload_id
from penstock.testing import eventually

PIECE = bytes(2048)


def test_few_have_all_they_want_and_many_share() -> None:
    sharing = Sharing()
    for requests, each in ((1, BATCH_BYTES), (8, BATCH_BYTES), (16, BATCH_BYTES // 2), (1024, HELD_BYTES // 1024)):
        for _ in range(requests):
            sharing.begin()
        assert sharing.batch_bytes == each
        for _ in range(requests):
            sharing.end()
    for _ in range(100_000):
        sharing.begin()
    assert sharing.batch_bytes == LEAST_BYTES


async def test_what_slow_clients_have_sent_is_written_and_not_held(tmp_path: Path) -> None:
    async with LocalBlobs(tmp_path) as blobs, AsyncExitStack() as stack:
        appenders = []
        for _ in range(400):
            upload_id = new_upload_id()
            await blobs.create(upload_id)
            appenders.append(await stack.enter_async_context(blobs.append(upload_id, 0)))
        for _ in range(12):
            for appender in appenders:
                await appender.write(PIECE)
        share = HELD_BYTES // len(appenders)
        assert len(PIECE) * 12 > share, "all of it would be more than there is room for"
        await eventually(lambda: all(one.written_bytes >= one.length_bytes - share for one in appenders))
        assert all(one.length_bytes == len(PIECE) * 12 for one in appenders)
