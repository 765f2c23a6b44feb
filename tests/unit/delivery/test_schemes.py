from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from penstock.delivery.base import Delivered, Delivery, DeliveryRefused
from penstock.delivery.localfile import LocalBytes
from penstock.delivery.schemes import ByScheme
from penstock.events.types import StartPostprocessingStep


class Named(Delivery):
    """Notes that it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    @asynccontextmanager
    async def deliver(self, start: StartPostprocessingStep) -> AsyncIterator[Delivered]:
        self.asked.append(start.url)
        if self.asked:
            raise DeliveryRefused("asked")
        yield LocalBytes(Path(), 0)


def start(url: str) -> StartPostprocessingStep:
    return StartPostprocessingStep(upload_id="u", url=url, step_to_start="ocr")


@pytest.mark.parametrize("url", ["file:///a", "HTTPS://host/x"])
async def test_the_scheme_chooses(url: str) -> None:
    file, web = Named(), Named()
    with pytest.raises(DeliveryRefused, match="asked"):
        async with ByScheme({"file": file, "https": web}).deliver(start(url)):
            pass
    assert [file.asked, web.asked] == ([[url], []] if url.startswith("file") else [[], [url]])


@pytest.mark.parametrize("url", ["", "ftp://host/x", "http://[", "no-address"])
async def test_what_nobody_knows_is_refused_with_what_there_is(url: str) -> None:
    with pytest.raises(DeliveryRefused, match="file, https"):
        async with ByScheme({"https": Named(), "file": Named()}).deliver(start(url)):
            pass
