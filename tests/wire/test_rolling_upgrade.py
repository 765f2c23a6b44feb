"""From the Go service to ours and back, while uploads come in: on its consumer, and in its bucket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from penstock.app.postprocessing import PostprocessingService
from penstock.settings import load_settings
from penstock.testing import eventually
from tests.servers.nats import NatsServer, running_nats
from tests.servers.platform import Platform

from .conversation import Listener, running
from .go_member import GROUP, GoMember
from .strangers import answered, begun, ready

STEPS = ("virusscan", "customstep")


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with running_nats(tmp_path) as server:
        yield server


def ours(nats: NatsServer) -> PostprocessingService:
    environment = {
        "OC_EVENTS_ENDPOINT": nats.endpoint,
        "OC_PERSISTENT_STORE_NODES": nats.endpoint,
        "POSTPROCESSING_STEPS": ",".join(STEPS),
    }
    return PostprocessingService(load_settings(environ=environment, service="postprocessing"))


async def test_uploads_go_on_whoever_is_there(nats: NatsServer) -> None:
    """Go alone, both, ours alone, both, Go alone: each upload ends once, also one that saw all of it."""
    async with AsyncExitStack() as stack:
        go = await stack.enter_async_context(GoMember(nats.endpoint, *STEPS))
        made = await go.consumer()
        listener = await stack.enter_async_context(Listener(nats.endpoint, durable=GROUP))
        platform = await stack.enter_async_context(Platform(nats.endpoint, name="platform"))

        async def uploads(count: int) -> int:
            """Have some come in and end; return how much of that the Go service has handled."""
            before = go.handled
            await platform.put(count, window=20)
            await platform.settled(30)
            await listener.settled()
            await go.idle()
            assert platform.wrong() == []
            return go.handled - before

        async def says(upload: str, *summaries: str) -> None:
            def heard() -> bool:
                said = dict.fromkeys(message.summary for message in listener.said if message.upload == upload)
                return tuple(said) == summaries

            await eventually(heard, timeout_seconds=60)

        assert await uploads(20) == 80
        await listener.say(begun("old"))
        await says("old", "start virusscan")
        async with running(ours(nats)):
            assert 0 < await uploads(100) < 400
            await go.leave()
            await listener.say(begun("new"))
            await listener.say(answered("old", step="virusscan"))
            await says("old", "start virusscan", "start customstep")
            await says("new", "start virusscan")
            assert await uploads(40) == 0
            go = await stack.enter_async_context(GoMember(nats.endpoint, *STEPS))
            assert 0 < await uploads(100) < 400
        assert await uploads(20) == 80
        for upload in ("old", "new"):
            for step in STEPS:
                await listener.say(answered(upload, step=step))
                await listener.settled()
        await says("old", "start virusscan", "start customstep", "finish continue")
        await says("new", "start virusscan", "start customstep", "finish continue")
        for upload in ("old", "new"):
            await listener.say(ready(upload))
        await listener.settled()
        left = await go.consumer()
        assert (left.config, left.created) == (made.config, made.created)
        names = sorted(info.name for info in await listener.jetstream.consumers_info("main-queue"))
        assert names == ["platform", GROUP]
