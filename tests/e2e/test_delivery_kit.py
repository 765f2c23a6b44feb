"""Each way of delivery to `penstock step run FILE` in a process of its own, set up as docs/guide/delivery.md says."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from penstock.testing import eventually
from tests.e2e.test_delivery import BODY, is_released, put, serving, start_of
from tests.e2e.test_object_storage import settings_of as s3_settings
from tests.servers.copies import installed
from tests.servers.nats import NatsServer
from tests.servers.receiver import running_receiver
from tests.servers.s3 import S3Server
from tests.servers.single import running_services
from tests.servers.tus_peer import running_tus_peer
from tests.wire.conversation import Listener

STEPS = """
import hashlib

from penstock import Outcome, StepResult, StepUpload, step


def looked(upload: StepUpload) -> StepResult:
    with upload.open() as file:
        return StepResult(Outcome.CONTINUE, {"sha256": hashlib.file_digest(file, "sha256").hexdigest()})

"""


async def test_every_way_reaches_a_step_of_the_kit(nats_server: NatsServer, s3: S3Server, tmp_path: Path) -> None:
    secret = {"PENSTOCK_DELIVERY_PUSH_SECRET": "s3cret"}
    with running_tus_peer() as peer, running_receiver(tmp_path / "inbox", secret="s3cret") as receiver:
        ways = {
            "shared": "path",
            "pulled": "pull",
            "once": "pull:one-time",
            "lent": "presigned",
            "pushed": f"push:{receiver.url}",
            "posted": f"push:form+{receiver.url}",
            "by-tus": f"push:tus+{peer.url}",
            "asked-form": f"push-on-request:form+{receiver.url}",
            "asked": f"push-on-request:{receiver.url}",
        }
        settings = {
            "PENSTOCK_DELIVERY": ",".join(f"{step}={way}" for step, way in ways.items()),
            "PENSTOCK_DELIVERY_PUSH_ALLOW": "127.0.0.1",
            **secret,
            **s3_settings(s3, s3.new_bucket()),
        }
        steps = tmp_path / "steps.py"
        steps.write_text(STEPS + "\n".join(f'{step.replace("-", "_")} = step("{step}")(looked)' for step in ways))
        with serving(tmp_path, nats_server, ",".join(ways), **settings) as server:
            worker = {
                "OCIS_EVENTS_ENDPOINT": nats_server.endpoint,
                "PENSTOCK_DELIVERY_VOLUMES": f"penstock={server.data_dir / 'blobs'}",
                "PENSTOCK_DELIVERY_INBOX": str(receiver.folder),
            }
            with installed(), running_services(tmp_path, 1, "step", "run", str(steps), **worker):
                async with Listener(nats_server.endpoint) as listener:
                    upload_id = await asyncio.to_thread(put, server)
                    await eventually(lambda: asyncio.to_thread(is_released, server, upload_id), timeout_seconds=60)
                    urls = {step: (await start_of(listener, upload_id, step)).payload["URL"] for step in ways}
        said = [one for one in listener.said if one.kind == "PostprocessingStepFinished" and one.upload == upload_id]
        answers = {one.payload["FinishedStep"]: one.payload["Result"] for one in said}
        sha256 = hashlib.sha256(BODY).hexdigest()
        assert answers == {step: {"sha256": sha256} for step in ways}
        assert urls["shared"].startswith("volume://penstock/")
        assert urls["by-tus"].startswith(peer.url)
        assert urls["posted"].startswith(receiver.url)
        assert receiver.files == []  # each was removed when its step was done
