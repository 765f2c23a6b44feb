"""Every way to cut what the server sends into pieces gives the same messages."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError

from penstock.jetstream.parser import MessageParser

SENT = (
    b"MSG a 1 5\r\nhello\r\n"
    b"PING\r\n"
    b"MSG a.b 1 reply.to 0\r\n\r\n"
    b"HMSG a 1 reply 12 17\r\nNATS/1.0\r\n\r\nhello\r\n"
    b"MSG c 2 3\r\n\r\nM\r\n"
    b"HMSG a 1 26 26\r\nNATS/1.0 408 Timed Out\r\n\r\n\r\n"
    b"-ERR 'Whatever'\r\n"
    b"MSG a 1 10\r\nMSG a 1 5\n\r\n"
    b'INFO {"a": 1}\r\n'
    b"PONG\r\n"
    b"MSG a 1 1\r\n!\r\n"
)
HEARD: list[tuple[bytes, ...]] = [
    (b"a", b"", b"hello", b""),
    (b"ping",),
    (b"a.b", b"reply.to", b"", b""),
    (b"a", b"reply", b"hello", b"NATS/1.0\r\n\r\n"),
    (b"c", b"", b"\r\nM", b"not listened to"),
    (b"a", b"", b"", b"NATS/1.0 408 Timed Out\r\n\r\n"),
    (b"error",),
    (b"a", b"", b"MSG a 1 5\n", b""),
    (b"info",),
    (b"pong",),
    (b"a", b"", b"!", b""),
]


class Heard:
    """Stands in for the client: takes down what the parser says."""

    def __init__(self) -> None:
        self.all: list[tuple[bytes, ...]] = []
        self.parser = MessageParser(self.client(), {1: self.hear})

    def client(self) -> Any:
        def note(word: bytes) -> Any:
            async def call(*_: object) -> None:
                self.all.append((word,))

            return call

        names = {"_process_ping": b"ping", "_process_pong": b"pong", "_process_err": b"error", "_process_info": b"info"}
        calls = {name: note(word) for name, word in names.items()}
        return SimpleNamespace(_process_msg=self.message, **calls)

    def hear(self, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        self.all.append((subject, reply, data, headers))

    async def message(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        # What comes in one piece behind something else is read by nats-py; the client then hands it on.
        self.all.append((subject, reply, data, (headers or b"") if sid == 1 else b"not listened to"))


def test_the_whole_in_one_piece() -> None:
    _parse([SENT])


@given(st.sets(st.integers(1, len(SENT) - 1), max_size=8))
def test_the_whole_in_any_pieces(cuts: set[int]) -> None:
    edges = [0, *sorted(cuts), len(SENT)]
    _parse([SENT[begin:end] for begin, end in itertools.pairwise(edges)])


def test_byte_by_byte() -> None:
    _parse([SENT[at : at + 1] for at in range(len(SENT))])


def _parse(pieces: list[bytes]) -> None:
    heard = Heard()

    async def run() -> None:
        for piece in pieces:
            await heard.parser.parse(piece)

    with pytest.raises(StopIteration):
        run().send(None)  # nothing in there waits for anything
    assert heard.all == HEARD


@pytest.mark.parametrize("cut", range(1, 32))
async def test_a_message_that_is_cut_does_not_make_nats_py_read_what_follows(cut: int) -> None:
    messages = b"MSG a 1 5\r\nhello\r\n" * 3
    heard = Heard()
    heard.parser.nc = None
    await heard.parser.parse(messages[:cut])
    await heard.parser.parse(messages[cut : cut + 2])
    await heard.parser.parse(messages[cut + 2 :])
    assert heard.all == [(b"a", b"", b"hello", b"")] * 3


async def test_what_a_lost_connection_has_cut_is_forgotten() -> None:
    heard = Heard()
    await heard.parser.parse(b"MSG a 1 5\r\nhel")
    heard.parser.reset()
    await heard.parser.parse(b"MSG a 1 5\r\nhello\r\n")
    assert heard.all == [(b"a", b"", b"hello", b"")]


async def test_what_is_no_protocol_is_refused() -> None:
    with pytest.raises(ProtocolError):
        await Heard().parser.parse(b"NONSENSE\r\n")
