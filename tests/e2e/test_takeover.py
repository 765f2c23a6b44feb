"""Takes over from a Go service on a real NATS server: what it left, in the store and on the stream, ends with ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import nats
import pytest
from nats.js.api import RetentionPolicy, StreamConfig
from nats.js.errors import NotFoundError

from tests.e2e.go_site import DECIDED, DELAYED, GROUP, Site
from tests.servers.nats import NatsServer, running_nats
from tests.servers.platform import Platform, Upload
from tests.servers.single import running_services

SCANNED, RETRIED, REFUSED = (f"0b2d9c2e-6b0f-4f57-9a9e-00000000040{number}" for number in (1, 2, 3))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    folder = tmp_path / "nats"
    folder.mkdir()
    with running_nats(folder) as running:
        yield running


@pytest.fixture
async def site(server: NatsServer, tmp_path: Path) -> AsyncIterator[Site]:
    client = await nats.connect(server.endpoint)
    yield Site(server, tmp_path, client)
    await client.close()


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("options", "consumer"), [([], GROUP), (["--replace-consumer"], f"{GROUP}-pull")], ids=["its consumer", "a new one"]
)
async def test_everything_that_a_go_service_left_ends_with_ours(site: Site, options: list[str], consumer: str) -> None:
    async with Platform(site.server.endpoint) as platform:
        await platform.put(3)  # before the Go service ever came: nobody knows of these any more
        await platform.sent()
        platform.uploads.clear()
        inbox = await site.leave_consumer()
        await site.leave_records()
        for upload in (SCANNED, RETRIED, DELAYED, DECIDED):
            platform.uploads[upload] = Upload(upload, {})
        # One is handled, and the next ones are not: the Go service was stopped in between.
        subscription = await site.client.subscribe(inbox, queue=GROUP)
        await platform.put(1)
        first = await subscription.next_msg(timeout=60)
        await first.ack_sync()
        handled = first.metadata.sequence.stream
        known = {*platform.uploads} - {DECIDED}
        await subscription.unsubscribe()
        await platform.put(5)
        await platform.sent()

        looked = await site.take_over("--dry-run", "--json")
        assert looked.status == 0, looked.err
        found = looked.json
        assert found["records"] == {"records": 5, "by_go": 4, "retries": 1, "delays": 1}
        (place,) = found["consumers"]
        assert (place["name"], place["pushes"], place["connected"]) == (GROUP, True, False)
        assert (place["handled_up_to"], place["waiting"]) == (handled, 5)
        assert {row["id"] for row in found["results"]} == {SCANNED, RETRIED, DELAYED, DECIDED}
        assert await site.resumes() == []
        assert list(await site.consumers()) == [GROUP]

        ended = await site.take_over(*options)
        assert ended.status == 0, ended.err
        for text in ("main-queue holds", "postprocessing pushes", "a Go instance moved 4", SCANNED, "take over"):
            assert text in ended.out
        consumers = await site.consumers()
        assert list(consumers) == [consumer]
        if options:
            assert f"consumer {consumer}" in ended.err
            assert consumers[consumer].config.opt_start_seq == handled + 1
        assert await site.resumes() == sorted([SCANNED, RETRIED, DELAYED, DECIDED])

        lost = known - {SCANNED, RETRIED, DELAYED}  # acknowledged by the Go service before it had a record
        for upload in lost:
            del platform.uploads[upload]
        with running_services(site.folder, 2, GROUP, "server", **site.settings):
            await platform.settled(120)
            assert not platform.open
        # The decision about one was said by nobody else; the others are decided once.
        assert not platform.wrong()
        assert len(platform.uploads) == 9
        assert list(await site.consumers()) == [consumer]


async def test_nothing_is_changed_while_an_instance_is_connected_unless_that_is_meant(site: Site) -> None:
    async with Platform(site.server.endpoint):
        inbox = await site.leave_consumer()
        await site.leave_records()
        await site.client.subscribe(inbox, queue=GROUP)
        await site.client.flush()

        refused = await site.take_over()
        assert refused.status == 2
        assert "An instance is connected" in refused.out
        assert "--while-it-runs" in refused.err
        assert await site.resumes() == []
        assert (await site.take_over("--dry-run")).status == 1

        ended = await site.take_over("--while-it-runs", "--json")
        assert ended.status == 0, ended.err
        assert ended.json["consumer"] is None
        assert len(await site.resumes()) == 4
        assert list(await site.consumers()) == [GROUP]


async def test_the_consumer_stays_for_a_way_back_and_it_can_be_repeated(site: Site) -> None:
    async with Platform(site.server.endpoint):
        await site.leave_consumer()
        await site.leave_records()
        kept = await site.take_over("--json")
        assert (kept.status, kept.json["consumer"]) == (0, None)
        assert list(await site.consumers()) == [GROUP]
        assert len(await site.resumes()) == 4
        for _ in range(2):
            assert (await site.take_over("--replace-consumer")).status == 0
            assert list(await site.consumers()) == [f"{GROUP}-pull"]
        assert len(await site.resumes()) == 12


async def test_a_consumer_that_somebody_is_connected_to_is_not_replaced(site: Site) -> None:
    async with Platform(site.server.endpoint):
        inbox = await site.leave_consumer()
        await site.client.subscribe(inbox, queue=GROUP)
        await site.client.flush()
        refused = await site.take_over("--replace-consumer", "--while-it-runs")
        assert refused.status == 2
        assert "Stop the Go service first" in refused.err
        assert list(await site.consumers()) == [GROUP]


async def test_where_no_go_service_ever_was(site: Site) -> None:
    ended = await site.take_over("--dry-run", "--json")
    assert ended.status == 1
    checks = {check["name"]: check for check in ended.json["checks"]}
    assert not checks["stream"]["ok"]
    assert "There was no main-queue" in checks["stream"]["detail"]
    assert checks["consumer"]["ok"]
    assert not checks["store"]["ok"]
    assert "There was no such bucket" in checks["store"]["detail"]
    assert ended.json["records"]["records"] == 0
    again = {check["name"]: check["ok"] for check in (await site.take_over("--dry-run", "--json")).json["checks"]}
    assert again == {"stream": True, "consumer": True, "store": True}


async def test_a_stream_that_cannot_carry_the_events_is_named(site: Site) -> None:
    jetstream = site.client.jetstream()
    await jetstream.add_stream(
        StreamConfig(name="main-queue", subjects=["main-queue"], retention=RetentionPolicy.WORK_QUEUE)
    )
    ended = await site.take_over("--dry-run")
    assert ended.status == 1
    assert "its retention is workqueue" in ended.out
    with pytest.raises(NotFoundError):
        await jetstream.consumer_info("main-queue", f"{GROUP}-pull")


async def test_what_was_in_the_memory_of_the_go_service_cannot_be_taken_over(site: Site) -> None:
    site.settings["POSTPROCESSING_STORE"] = "memory"
    ended = await site.take_over()
    assert ended.status == 2
    assert "store=memory" in ended.err


async def test_a_server_that_is_away_is_an_error(site: Site) -> None:
    await site.client.close()
    site.server.stop()
    ended = await site.take_over()
    assert ended.status == 2
    assert site.server.endpoint in ended.err
