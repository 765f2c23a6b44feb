"""Forms, in pieces of every size."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.http.asgi import Body
from penstock.http.form_body import MOST_PARTS, FormBody, Part, boundary_of
from penstock.testing import eventually
from penstock.uploads.errors import BadForm, Disconnected, FormTooLarge, Idle, UnsupportedBody
from penstock.uploads.protocols.names import UnsafeName

END = b"--b--\r\n"


def part(content: bytes, disposition: str = 'form-data; name="f"; filename="a"', more: str = "") -> bytes:
    return f"--b\r\nContent-Disposition: {disposition}\r\n{more}\r\n".encode() + content + b"\r\n"


def form(*chunks: bytes, cut: bool = False, silent: bool = False, idle: float = 30) -> FormBody:
    """A form that arrives in these pieces, and then ends, is cut off, or stands still."""
    left: list[dict[str, Any]] = [{"type": "http.request", "body": one, "more_body": True} for one in chunks if one]
    if not silent:
        left.append({"type": "http.disconnect"} if cut else {"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.Event().wait()
        return left.pop(0)

    body = Body({"http_version": "1.1"}, {"transfer-encoding": "chunked"}, receive)
    return FormBody(body, "b", timedelta(seconds=idle))


async def contents(read: FormBody) -> list[bytes]:
    found = []
    while await read.part() is not None:
        found.append(b"".join([piece async for piece in read.rest()]))
    return found


@given(
    st.lists(st.lists(st.sampled_from([b"\r", b"\n", b"-", b"b", b"\r\n--", b"x", b"\r\n--b"[:4]])).map(b"".join)),
    st.lists(st.integers(1, 30), min_size=1),
)
def test_however_it_is_cut_up_the_parts_are_the_same(wanted: list[bytes], sizes: list[int]) -> None:
    wanted = [one for one in wanted if b"\r\n--b" not in b"\r\n" + one + b"\r\n"]
    whole = b"".join(part(one) for one in wanted) + END
    chunks: list[bytes] = []
    at = 0
    while at < len(whole):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(whole[at : at + size])
        at += size
    assert asyncio.run(contents(form(*chunks))) == wanted


@pytest.mark.parametrize(
    ("disposition", "more", "found"),
    [
        (
            'form-data; name="f"; filename="a"',
            "Content-Type: text/plain; x=y\r\n",
            Part("f", "a", "text/plain; x=y", None),
        ),
        ('form-data; name="f"', "", Part("f", None, "", None)),
        ('form-data; name="f"; filename=""', "Content-Length: 0\r\n", Part("f", "", "", 0)),
        ('form-data; name="f"; filename="C:\\\\a.txt"', "", Part("f", "C:\\\\a.txt", "", None)),
        ("form-data; name=f; filename*=utf-8'de'%C3%BC.txt", "", Part("f", "ü.txt", "", None)),
        ('form-data; name="f"; filename="x; filename*=utf-8\'\'y"', "", Part("f", "x; filename*=utf-8''y", "", None)),
    ],
)
async def test_what_the_headers_say(disposition: str, more: str, found: Part) -> None:
    assert await form(part(b"", disposition, more), END).part() == found


async def test_a_name_that_cannot_be_decoded() -> None:
    with pytest.raises(UnsafeName, match="not UTF-8"):
        await form(part(b"", "form-data; filename*=utf-8''%ff"), END).part()


@pytest.mark.parametrize("more", ["Content-Transfer-Encoding: base64\r\n", "content-disposition: form-data\r\n"])
async def test_a_part_that_would_be_kept_encoded_or_can_be_read_in_two_ways(more: str) -> None:
    with pytest.raises(BadForm, match=r"as they are|once"):
        await form(part(b"YQ==", more=more), END).part()
    assert await contents(form(part(b"YQ==", more="Content-Transfer-Encoding: 8BIT\r\n"), END)) == [b"YQ=="]


async def test_what_was_right_before_a_mistake_still_counts() -> None:
    read = form(part(b"one") + b"--b\r\nnonsense\r\n\r\n")
    assert (await read.part()) is not None
    assert b"".join([piece async for piece in read.rest()]) == b"one"
    with pytest.raises(BadForm, match="cannot be read"):
        await read.part()


@pytest.mark.parametrize("end", [b"", b"--b", b"--b-", b"--b\r\n"])
async def test_a_form_has_an_end(end: bytes) -> None:
    with pytest.raises(BadForm, match="files that were there in whole"):
        await contents(form(part(b"one") + end))


async def test_a_form_that_is_cut_off() -> None:
    with pytest.raises(Disconnected):
        await contents(form(part(b"one"), cut=True))


async def test_what_comes_after_the_end_is_read_and_forgotten() -> None:
    assert await contents(form(part(b"one") + END, b"\r\n", b"epilogue")) == [b"one"]


async def test_fields_are_text_and_bounded() -> None:
    read = form(part("ü".encode(), 'form-data; name="f"') + part(b"\xff", 'form-data; name="f"') + END)
    await read.part()
    assert await read.value() == "ü"
    await read.part()
    with pytest.raises(BadForm, match="not UTF-8"):
        await read.value()
    large = form(*[part(b"x" * 40_000, 'form-data; name="f"')] * 2)
    await large.part()
    await large.value()
    await large.part()
    with pytest.raises(FormTooLarge):
        await large.value()


async def test_parts_and_what_belongs_to_none_are_bounded() -> None:
    with pytest.raises(FormTooLarge):
        await contents(form(*[part(b"")] * (MOST_PARTS + 1), END))
    with pytest.raises(FormTooLarge, match="no part"):
        await contents(form(*[b"preamble" * 100_000] * 6))


async def test_a_part_is_read_past_as_far_as_allowed() -> None:
    read = form(part(b"x" * 100) + part(b"two") + END)
    await read.part()
    assert await read.skip(100) == 100
    await read.part()
    assert await read.skip(2) is None
    assert await read.skip(100) == 0
    assert await read.part() is None


async def test_an_interruption_loses_nothing() -> None:
    arrived = asyncio.Event()
    messages = [part(b"one")[:-2], b"more\r\n" + part(b"two") + END, b""]
    waiting = 0

    async def receive() -> dict[str, Any]:
        nonlocal waiting
        if len(messages) < 3:
            waiting += 1
            await arrived.wait()
        chunk = messages.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}

    read = FormBody(Body({"http_version": "1.1"}, {"transfer-encoding": "chunked"}, receive), "b")
    await read.part()

    async def take() -> None:
        async for _ in read.rest():
            pass

    taking = asyncio.create_task(take())
    await eventually(lambda: waiting)
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    arrived.set()
    assert await read.skip(100) == len(b"more")
    assert await contents(read) == [b"two"]


async def test_a_client_that_sends_nothing() -> None:
    with pytest.raises(Idle, match="nothing of the form arrived"):
        await form(silent=True, idle=0.01).part()


@pytest.mark.parametrize("boundary", ["b", "----WebKitFormBoundary7MA4", "a b", "x" * 70])
def test_boundaries(boundary: str) -> None:
    assert boundary_of(f'Multipart/Form-Data; charset=utf-8; boundary="{boundary}"') == boundary


@pytest.mark.parametrize(
    "content_type",
    ["", "multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=b"]
    + [f'multipart/form-data; boundary="{boundary}"' for boundary in ("x" * 71, "ü", "a\nb", "a ")],
)
def test_boundaries_that_are_none(content_type: str) -> None:
    with pytest.raises(UnsupportedBody):
        boundary_of(content_type)
