"""Acting on many uploads at once: each is as it is when its turn comes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI

from penstock.blobs.base import BlobMissing
from penstock.core.policy import Policy
from penstock.errors import Unavailable
from penstock.http.uploads import Action, _act, router
from penstock.postprocessing.foregone import Foregone
from penstock.telemetry import Metrics
from penstock.uploads.upload import Phase
from tests.unit.uploads.way_in import EXPIRATION, WayIn, body, way_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def services_of(parts: WayIn) -> Any:
    return SimpleNamespace(receiver=parts.receiver, catalogue=parts.catalogue, clock=parts.clock)


@asynccontextmanager
async def serving(services: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.include_router(router(services))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


async def test_what_is_released_after_it_was_listed_is_not_cleaned(tmp_path: Path) -> None:
    async with way_in(tmp_path, foresee=Foregone(Policy.create([]), Metrics())) as parts:
        listed = (await parts.receiver.create("a.jpg", size_bytes=5)).upload
        await parts.receiver.receive(listed.id, 0, body(b"bytes"), length=5)
        row = await _act(services_of(parts), listed, Action(action="clean"))
        assert (row.ok, row.detail) == (False, f"upload {listed.id} is released by now, so it is left alone.")
        assert await parts.content(listed.id) == b"bytes"


@pytest.mark.parametrize("filters", [{"processing": False}, {"expired": True}])
async def test_what_does_not_match_any_more_is_not_cleaned(tmp_path: Path, filters: dict[str, bool]) -> None:
    async with way_in(tmp_path) as parts:
        listed = (await parts.receiver.create("a.jpg", size_bytes=5)).upload
        action = Action.model_validate({"action": "clean", **filters})
        await parts.receiver.receive(listed.id, 0, body(b"bytes"), length=5)
        assert not (await _act(services_of(parts), listed, action)).ok
        assert await parts.content(listed.id) == b"bytes"
        another = (await parts.receiver.create("b.jpg", size_bytes=5)).upload
        assert (await _act(services_of(parts), another, action)).ok
        with pytest.raises(BlobMissing):
            await parts.blobs.length(another.id)


async def test_a_clock_that_jumps_makes_nothing_expired_that_is_cleaned(tmp_path: Path) -> None:
    async with way_in(tmp_path) as parts, serving(services_of(parts)) as client:
        upload = (await parts.receiver.create("a.jpg", size_bytes=5)).upload
        expired = {"action": "clean", "expired": True}
        parts.clock.jump(timedelta(days=365))
        assert (await client.post("/api/v1/uploads/actions", json=expired)).json() == {"results": []}
        assert await parts.blobs.length(upload.id) == 0
        await parts.clock.advance(EXPIRATION)
        (result,) = (await client.post("/api/v1/uploads/actions", json=expired)).json()["results"]
        assert (result["id"], result["ok"]) == (upload.id, True)


async def test_two_who_take_note_of_an_end_at_once_are_both_told_that_it_is_done(tmp_path: Path) -> None:
    async with way_in(tmp_path) as parts:
        services, both_have_looked = services_of(parts), asyncio.Barrier(2)

        async def upload(upload_id: str) -> Any:
            found = await parts.catalogue.get(upload_id)
            await both_have_looked.wait()
            return found

        services.upload = upload
        async with serving(services) as client:
            upload_id = (await parts.receiver.create("a.jpg", size_bytes=5)).upload.id
            await parts.receiver.terminate(upload_id)
            note = f"/api/v1/uploads/{upload_id}/acknowledge"
            answers = await asyncio.gather(client.post(note), client.post(note))
            assert [answer.status_code for answer in answers] == [204, 204]
            assert await parts.catalogue.get(upload_id) is None


async def test_an_end_is_not_taken_note_of_before_the_bytes_are_gone(tmp_path: Path) -> None:
    async with way_in(tmp_path) as parts:
        services = services_of(parts)
        services.upload = parts.catalogue.get
        async with serving(services) as client:
            upload = (await parts.receiver.create("a.jpg", size_bytes=5)).upload
            gone = msgspec.structs.replace(upload, phase=Phase.CANCELLED, ended_at=parts.clock.now())
            assert await parts.catalogue.change(upload, gone)
            with pytest.raises(Unavailable, match="could not be removed yet"):
                await client.post(f"/api/v1/uploads/{upload.id}/acknowledge")
            assert await parts.catalogue.get(upload.id) is not None
