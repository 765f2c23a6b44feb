"""One trace from the request of a client to the release of its file, as a collector sees it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from penstock.events.codec import encode
from penstock.events.types import BytesReceived, Envelope
from penstock.jetstream import connect
from penstock.testing import eventually
from tests.servers.collector import CollectedSpan, Collector, grpc_collector, http_collector
from tests.servers.nats import NatsServer
from tests.servers.penstock import PenstockServer
from tests.servers.ports import free_port
from tests.servers.single import running_services

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
STEPS = """
from pathlib import Path

from penstock import Outcome, StepResult, StepUpload, step

@step("ocr")
def ocr(upload: StepUpload) -> Outcome | StepResult:
    marker = Path(__file__).with_name(upload.id)
    marker.write_text(upload.trace_parent)
    if upload.filename == "twice" and not marker.with_suffix(".again").exists():
        marker.with_suffix(".again").touch()
        return StepResult(Outcome.RETRY, message="not yet")
    return Outcome.CONTINUE
"""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with http_collector() as collector:
        yield collector


def penstock(folder: Path, collector_url: str) -> PenstockServer:
    steps = folder / "steps.py"
    steps.write_text(STEPS)
    environment = {
        "PENSTOCK_STEPS": "ocr",
        "PENSTOCK_STEP_FILES": str(steps),
        "PENSTOCK_RETRY_BACKOFF": "200ms",
        "PENSTOCK_TRACING_ENABLED": "true",
        "PENSTOCK_TRACING_COLLECTOR": collector_url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    return PenstockServer(folder, **environment)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[PenstockServer]:
    with penstock(tmp_path_factory.mktemp("traces"), collector.url) as server:
        yield server


def put(server: PenstockServer, name: str, headers: dict[str, str]) -> str:
    answer = httpx.put(f"{server.url}/files/{name}", content=b"abc", headers=headers, timeout=120)
    assert answer.status_code == 202
    upload_id: str = answer.json()["id"]
    return upload_id


def patch(server: PenstockServer, headers: dict[str, str]) -> str:
    version = {"Tus-Resumable": "1.0.0"}
    created = httpx.post(f"{server.url}/uploads/", headers={**version, "Upload-Length": "3"}, timeout=120)
    rest = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    httpx.patch(created.headers["Location"], content=b"abc", headers={**version, **rest, **headers}, timeout=120)
    return created.headers["Location"].rpartition("/")[2]


async def spans_of(collector: Collector, upload_id: str) -> list[CollectedSpan]:
    """The spans of an upload, once the last of them has arrived."""

    def of_upload() -> list[CollectedSpan]:
        return [span for span in collector.spans if span.attributes.get("penstock.upload_id") == upload_id]

    await eventually(lambda: "coordinator UploadReady" in [span.name for span in of_upload()], timeout_seconds=60)
    await eventually(lambda: "upload decided" in [span.name for span in of_upload()], timeout_seconds=60)
    return of_upload()


@pytest.mark.parametrize("how", ["PUT", "PATCH"])
async def test_one_trace_holds_all_that_is_done_for_an_upload(
    server: PenstockServer, collector: Collector, how: str
) -> None:
    upload_id = put(server, "once", HEADERS) if how == "PUT" else patch(server, HEADERS)
    spans = await spans_of(collector, upload_id)
    assert {span.trace_id for span in spans} == {TRACE}
    assert {span.service for span in spans} == {"penstock-serve"}
    by_name = {span.name: span for span in spans}
    line = ["upload received", "coordinator BytesReceived", "step ocr", "coordinator PostprocessingStepFinished"]
    parents = [SPAN, *(by_name[name].span_id for name in line)]
    for name, parent in zip([*line, "upload decided"], parents, strict=True):
        assert by_name[name].parent_id == parent, name
    assert by_name["coordinator UploadReady"].parent_id == by_name["upload received"].span_id
    assert len(spans) == 6
    written = (server.data_dir.parent / upload_id).read_text()
    assert written == f"00-{TRACE}-{by_name['step ocr'].span_id}-01"


async def test_a_retry_stays_in_the_trace(server: PenstockServer, collector: Collector) -> None:
    upload_id = put(server, "twice", HEADERS)
    spans = await spans_of(collector, upload_id)
    assert {span.trace_id for span in spans} == {TRACE}
    assert [span.attributes["penstock.outcome"] for span in spans if span.name == "step ocr"] == ["retry", "continue"]
    (timer,) = [span for span in spans if span.name == "coordinator Tick"]
    assert (timer.attributes["penstock.step"], timer.attributes["penstock.attempt"]) == ("ocr", 2)
    second = [span for span in spans if span.name == "step ocr"][1]
    assert second.parent_id == timer.span_id


async def test_uploads_without_a_trace_each_have_their_own(server: PenstockServer, collector: Collector) -> None:
    first, second = put(server, "a", {}), put(server, "b", {"traceparent": "none"})
    traces = [{span.trace_id for span in await spans_of(collector, upload_id)} for upload_id in (first, second)]
    assert [len(ids) for ids in traces] == [1, 1]
    assert traces[0] != traces[1]


async def test_who_does_not_record_its_own_part_has_ours_not_sent(server: PenstockServer, collector: Collector) -> None:
    unsampled = "4bf92f3577b34da6a3ce929d0e0e4736"
    upload_id = put(server, "unsampled", {"traceparent": f"00-{unsampled}-{SPAN}-00"})
    await spans_of(collector, put(server, "later", {}))
    assert (server.data_dir.parent / upload_id).read_text().startswith(f"00-{unsampled}-")
    assert unsampled not in {span.trace_id for span in collector.spans}


async def test_without_a_collector_uploads_go_on_and_the_end_comes_in_time(tmp_path: Path) -> None:
    with penstock(tmp_path, f"http://127.0.0.1:{free_port()}") as server:
        upload_id = put(server, "f", HEADERS)

        def phase() -> str:
            view = httpx.get(f"{server.url}/api/v1/uploads/{upload_id}", timeout=120).json()
            found: str = view["phase"]
            return found

        await eventually(lambda: phase() == "released", timeout_seconds=60)
        begun_at = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begun_at < 60
        said = server.last_words()
        assert said.count("traces_are_not_sent") <= 1
        assert "opentelemetry" not in said


def test_a_server_that_is_not_told_where_traces_go_does_not_start(tmp_path: Path) -> None:
    server = PenstockServer(tmp_path, PENSTOCK_TRACING_ENABLED="true")
    assert server.launch().wait(timeout=120) == 2
    assert "Set tracing_endpoint" in server.last_words()


async def test_services_of_their_own_share_the_trace_over_nats(tmp_path: Path, nats_server: NatsServer) -> None:
    await nats_server.delete_streams()
    (tmp_path / "steps.py").write_text(STEPS)
    upload_id = "0" * 32
    bytes_file = tmp_path / "bytes"
    bytes_file.write_bytes(b"abc")
    event = BytesReceived(upload_id=upload_id, filename="once", filesize=3, url=bytes_file.as_uri())
    with grpc_collector() as collector, ExitStack() as services:
        settings = {
            "PENSTOCK_EVENTS_ENDPOINT": nats_server.endpoint,
            "PENSTOCK_TRACING_ENABLED": "true",
            "PENSTOCK_TRACING_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        coordinating = {"POSTPROCESSING_STEPS": "ocr", "POSTPROCESSING_STORE": "memory", **settings}
        working = {"PENSTOCK_DELIVERY_FOLDER": str(tmp_path), **settings}
        for folder, arguments, environment in (
            ("coordinator", ("postprocessing", "server"), coordinating),
            ("step", ("step", "run", str(tmp_path / "steps.py")), working),
        ):
            (tmp_path / folder).mkdir()
            services.enter_context(running_services(tmp_path / folder, 1, *arguments, **environment))
        async with connect(nats_server.servers, name="test") as client:
            received = Envelope(
                event=event,
                event_id="run",
                id="1",
                timestamp="2026-05-01T12:00:00Z",
                trace_parent=HEADERS["traceparent"],
            )
            await client.jetstream().publish("main-queue", encode(received))
            await eventually(lambda: len(collector.spans) == 3, timeout_seconds=60)
    spans = {span.service: span for span in collector.spans if "Finished" not in span.name}
    assert {span.trace_id for span in collector.spans} == {TRACE}
    assert spans["penstock-postprocessing"].parent_id == SPAN
    assert spans["penstock-step"].parent_id == spans["penstock-postprocessing"].span_id
    (finished,) = collector.named("coordinator PostprocessingStepFinished")
    assert (finished.service, finished.parent_id) == ("penstock-postprocessing", spans["penstock-step"].span_id)
