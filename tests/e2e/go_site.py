"""An installation as a Go service has left it: its consumer on a real NATS server, and the records of the captures."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, DiscardPolicy, StreamConfig

from tests.servers import copies
from tests.servers.nats import NatsServer

DATA = Path(__file__).parents[1] / "data" / "wire"
DELAYED = "0b2d9c2e-6b0f-4f57-9a9e-000000000501"
DECIDED = "0b2d9c2e-6b0f-4f57-9a9e-000000000502"
GROUP = "postprocessing"


@dataclass
class Ended:
    """What a command printed, and how it ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Site:
    """An installation, as a Go service has left it."""

    def __init__(self, server: NatsServer, folder: Path, client: Any) -> None:
        self.server = server
        self.folder = folder
        self.client = client
        self.settings = {
            "OCIS_EVENTS_ENDPOINT": server.endpoint,
            "OCIS_PERSISTENT_STORE_NODES": server.endpoint,
            "POSTPROCESSING_STEPS": "virusscan,customstep",
            "POSTPROCESSING_DELAY": "1s",
            "OCIS_LOG_LEVEL": "warning",
        }

    async def leave_records(self) -> None:
        """Write the records of the captures, byte for byte, and two more like them."""
        captured = json.loads((DATA / "store-nats-js-kv.json").read_text())
        config = captured["stream_config"]
        jetstream = self.client.jetstream()
        await jetstream.add_stream(
            StreamConfig(
                name=config["name"],
                description=config["description"],
                subjects=config["subjects"],
                max_msgs_per_subject=1,
                discard=DiscardPolicy.NEW,
                deny_delete=True,
                allow_rollup_hdrs=True,
                allow_direct=True,
            )
        )
        values = [json.loads(entry["value"]) for entry in captured["entries"] if entry["value"]]
        for entry in captured["entries"]:
            if entry["value"]:
                await jetstream.publish(entry["subject"], entry["value"].encode())
        record = json.loads(base64.b64decode(values[0]["data"]))
        delayed = {
            "ID": DELAYED,
            "Steps": ["virusscan", "delay", "customstep"],
            "Status": {"CurrentStep": "customstep", "Outcome": ""},
        }
        decided = {"ID": DECIDED, "Status": {"CurrentStep": "finished", "Outcome": "continue"}}
        for change in (delayed, decided):
            key = base64.b32encode(change["ID"].encode()).decode()  # type: ignore[attr-defined]
            data = json.dumps(record | change, separators=(",", ":")).encode()
            value = {"key": change["ID"], "data": base64.b64encode(data).decode(), "metadata": None}
            await jetstream.publish(f"$KV.postprocessing.{key}", json.dumps(value, separators=(",", ":")).encode())

    async def leave_consumer(self) -> str:
        """Make the durable consumer of an older Go service, with events handled and others that are not."""
        jetstream = self.client.jetstream()
        inbox: str = self.client.new_inbox()
        await jetstream.add_consumer(
            "main-queue",
            ConsumerConfig(
                durable_name=GROUP,
                deliver_group=GROUP,
                deliver_subject=inbox,
                filter_subject="main-queue",
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=30,
                deliver_policy=DeliverPolicy.NEW,
                max_deliver=-1,
                max_ack_pending=1000,
            ),
        )
        return inbox

    async def consumers(self) -> dict[str, Any]:
        """Return the consumers of the group."""
        infos = await self.client.jetstream().consumers_info("main-queue")
        return {info.name: info for info in infos if info.name.startswith(GROUP)}

    async def take_over(self, *options: str) -> Ended:
        ended = await asyncio.to_thread(
            copies.run,
            ["postprocessing", "takeover", *options],
            environment={**copies.without_settings(), **self.settings},
            folder=self.folder,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    async def resumes(self) -> list[str]:
        """Return the uploads that the stream has a ResumePostprocessing for."""
        jetstream = self.client.jetstream()
        found = []
        for number in range(1, (await jetstream.stream_info("main-queue")).state.last_seq + 1):
            body = json.loads((await jetstream.get_msg("main-queue", seq=number)).data)
            if body["Metadata"]["eventtype"] == "events.ResumePostprocessing":
                found.append(json.loads(base64.b64decode(body["Payload"]))["UploadID"])
        return sorted(found)
