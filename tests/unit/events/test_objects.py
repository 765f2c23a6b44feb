from __future__ import annotations

import pytest

from penstock.events.gojson import Decoder, dumps
from penstock.events.objects import (
    UINT64_MAX,
    Opaque,
    OpaqueEntry,
    Reference,
    ResourceId,
    Shared,
    Timestamp,
    User,
    UserId,
)


@pytest.mark.parametrize("empty", [UserId(), OpaqueEntry(), Opaque(), User(), ResourceId(), Reference(), Timestamp()])
def test_what_is_empty_is_left_out(empty: Shared) -> None:
    assert dumps(empty) == b"{}"


def test_an_empty_object_is_not_the_same_as_none() -> None:
    assert dumps(User(id=UserId(), opaque=Opaque())) == b'{"id":{},"opaque":{}}'


def test_a_full_user_has_its_keys_in_wire_order() -> None:
    user = User(
        gid_number=30000,
        uid_number=20010,
        opaque=Opaque(map={"b": OpaqueEntry(decoder="plain", value=b"value"), "a": None}),
        groups=("physicists",),
        display_name="Alan Turing",
        mail_verified=True,
        mail="alan@example.org",
        username="alan",
        id=UserId(type=1, opaque_id="b1f7", idp="https://cloud.example.test"),
    )
    assert dumps(user) == (
        b'{"id":{"idp":"https://cloud.example.test","opaque_id":"b1f7","type":1},"username":"alan",'
        b'"mail":"alan@example.org","mail_verified":true,"display_name":"Alan Turing","groups":["physicists"],'
        b'"opaque":{"map":{"a":null,"b":{"decoder":"plain","value":"dmFsdWU="}}},'
        b'"uid_number":20010,"gid_number":30000}'
    )
    assert Decoder(User).decode(dumps(user)) == user


@pytest.mark.parametrize("seconds", [-1, UINT64_MAX + 1])
def test_seconds_that_go_could_not_read_are_refused(seconds: int) -> None:
    with pytest.raises(ValueError, match=f"seconds={seconds}"):
        Timestamp(seconds=seconds)
    with pytest.raises(ValueError, match="seconds"):
        Decoder(Timestamp).decode(b'{"seconds":%d}' % seconds)


@pytest.mark.parametrize("nanos", [-1, 2**32])
def test_nanoseconds_on_the_wire_must_fit_32_bits(nanos: int) -> None:
    with pytest.raises(ValueError, match="nanos"):
        Decoder(Timestamp).decode(b'{"nanos":%d}' % nanos)


def test_the_largest_numbers_pass() -> None:
    largest = b'{"seconds":18446744073709551615,"nanos":4294967295}'
    assert dumps(Decoder(Timestamp).decode(largest)) == largest
