from __future__ import annotations

from datetime import timedelta

import pytest

from penstock.bus.nats.messages import Delivery, again_after, answer_of, delivery_of
from penstock.jetstream.headers import header_block, header_of, status_of


@pytest.mark.parametrize(
    "reply",
    [
        b"$JS.ACK.main-queue.postprocessing.3.17.5.1700000000000000000.42",
        b"$JS.ACK.domain.hash.main-queue.postprocessing.3.17.5.1700000000000000000.42",
        b"$JS.ACK._.hash.main-queue.postprocessing.3.17.5.1700000000000000000.42.token",
    ],
)
def test_where_a_message_stands_is_read_from_its_reply_subject(reply: bytes) -> None:
    assert delivery_of(reply) == Delivery(reply, sequence=17, deliveries=3, pending=42, at_ns=1_700_000_000_000_000_000)


@pytest.mark.parametrize("reply", [b"", b"_INBOX.a.b", b"$JS.FC.main-queue.x.1", b"$JS.ACK.s.c.x.y.z.t.p"])
def test_other_replies_are_no_deliveries(reply: bytes) -> None:
    assert delivery_of(reply) is None


def test_a_pause_is_said_in_nanoseconds() -> None:
    assert again_after(timedelta(seconds=1.5)) == b'-NAK {"delay": 1500000000}'
    assert again_after(timedelta()) == b"-NAK"


def test_headers_are_written_and_read() -> None:
    block = header_block({"Nats-Msg-Id": "e1", "Empty": "", "Reason": "two\r\nlines é"})
    assert block == "NATS/1.0\r\nNats-Msg-Id: e1\r\nReason: two\ufffd\ufffdlines é\r\n\r\n".encode()
    assert header_of(block, b"Nats-Msg-Id") == b"e1"
    assert header_of(block, b"Missing") == b""
    assert status_of(block) == b""
    assert header_block({"Empty": ""}) == b""


def test_a_status_is_told_from_headers() -> None:
    assert status_of(b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 3\r\n\r\n") == b"408"
    assert status_of(b"") == b""


def test_confirmations_and_refusals_of_a_publication() -> None:
    assert answer_of(b"", b'{"stream":"main-queue","seq":1}').error == ""
    assert answer_of(b"NATS/1.0 503\r\n\r\n", b"").no_stream
    refusal = answer_of(b"", b'{"error":{"code":503,"description":"insufficient storage"},"stream":"","seq":0}')
    assert (refusal.error, refusal.no_stream) == ("insufficient storage", False)
    assert "not understood" in answer_of(b"", b'"error"').error
