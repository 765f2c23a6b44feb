"""Records in the memory of a service: the commands see them, through its debug address."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path

from tests.servers import copies
from tests.servers.nats import running_nats
from tests.servers.single import SingleService
from tests.wire.conversation import Listener
from tests.wire.strangers import answered, begun

TOKEN = "a-debug-token"


async def test_the_commands_see_them_and_say_why_when_they_do_not(tmp_path: Path) -> None:
    with running_nats(tmp_path) as nats:
        settings = {
            "OCIS_EVENTS_ENDPOINT": nats.endpoint,
            "POSTPROCESSING_STORE": "memory",
            "POSTPROCESSING_STEPS": "virusscan,ocr",
            "POSTPROCESSING_DEBUG_TOKEN": TOKEN,
        }
        service = SingleService(tmp_path, "postprocessing", "server", **settings)
        try:
            await asyncio.to_thread(service.ready)
            commands = Commands(tmp_path, settings | {"POSTPROCESSING_DEBUG_ADDR": f"127.0.0.1:{service.port}"})
            async with Listener(nats.endpoint) as listener:
                for upload in ("one", "two"):
                    await listener.say(begun(upload))
                await listener.say(answered("two", step="virusscan"))
                await listener.settled()
                await are_seen(commands, listener)
            wrong = Commands(tmp_path, commands.settings | {"POSTPROCESSING_DEBUG_TOKEN": "another"})
            assert "401: Send the debug token" in await wrong.fails("list")
        finally:
            service.stop()
        assert f"127.0.0.1:{service.port} does not answer" in await commands.fails("list")
        assert "one" in await commands.succeeds("resume", "-u", "one")  # which needs no look


async def are_seen(commands: Commands, listener: Listener) -> None:
    rows = {row["id"]: row for row in json.loads(await commands.succeeds("list", "--json"))}
    assert {one: row["step"] for one, row in rows.items()} == {"one": "virusscan", "two": "ocr"}
    assert [row["id"] for row in json.loads(await commands.succeeds("list", "--json", "-s", "ocr"))] == ["two"]
    listener.said.clear()
    assert "two" in await commands.succeeds("resume", "-s", "ocr")
    assert "one" in await commands.succeeds("restart", "-s", "virusscan")
    await listener.settled()
    asked = {(message.kind, message.upload) for message in listener.said if message.kind.endswith("Postprocessing")}
    assert asked >= {("ResumePostprocessing", ""), ("RestartPostprocessing", "one")}
    assert "no uploads" not in await commands.succeeds("list")


class Commands:
    """`penstock postprocessing …` in the environment of the service."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.folder = folder
        self.settings = settings

    async def succeeds(self, *arguments: str) -> str:
        ended = await self._run(*arguments)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    async def fails(self, *arguments: str) -> str:
        ended = await self._run(*arguments)
        assert ended.returncode == 2, ended.stdout + ended.stderr
        return ended.stderr

    async def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["postprocessing", *arguments]
        environment = {"PATH": os.environ["PATH"], "COLUMNS": "200", **self.settings}
        return await asyncio.to_thread(copies.run, command, environment=environment, folder=self.folder)
