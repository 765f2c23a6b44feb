"""What is said to etcd, in the JSON form of its protocol, and what it answers.

etcd serves its gRPC interface as JSON too (`/v3/kv/range`, `/v3/kv/txn`): bytes are base64, 64-bit numbers are
strings, and what is empty or zero is left out of an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

Part: TypeAlias = dict[str, Any]
"""One comparison, or one operation, of a transaction."""


class KeyValue(msgspec.Struct, frozen=True):
    """One key as it is stored."""

    key: bytes
    value: bytes = b""
    mod_revision: int = 0
    """The number of the change that wrote it; counted over the whole store, so no two changes share one."""


class Header(msgspec.Struct, frozen=True):
    """What comes with every answer."""

    revision: int = 0
    """The number of the store's latest change: for a transaction that wrote something, its own."""


class Range(msgspec.Struct, frozen=True):
    """The keys that were asked for, in the order of their bytes."""

    kvs: tuple[KeyValue, ...] = ()
    more: bool = False
    """Whether the limit has cut it short."""
    count: int = 0
    """How many there are, those beyond the limit included."""


class _Result(msgspec.Struct, frozen=True):
    response_range: Range | None = None


class Txn(msgspec.Struct, frozen=True):
    """What a transaction did."""

    header: Header = Header()
    succeeded: bool = False
    """Whether all comparisons held; otherwise the other branch was carried out."""
    responses: tuple[_Result, ...] = ()

    @property
    def ranges(self) -> list[Range]:
        """The answers of its reading operations, in their order."""
        return [one.response_range for one in self.responses if one.response_range is not None]


class Token(msgspec.Struct, frozen=True):
    """The answer to a login."""

    token: str = ""


class Refusal(msgspec.Struct, frozen=True):
    """Why something was not done."""

    code: int = 0
    """As gRPC numbers them."""
    message: str = ""
    error: str = ""


RANGE: Final = msgspec.json.Decoder(Range, strict=False)
TXN: Final = msgspec.json.Decoder(Txn, strict=False)
TOKEN: Final = msgspec.json.Decoder(Token)
REFUSAL: Final = msgspec.json.Decoder(Refusal)

_ENCODER: Final = msgspec.json.Encoder()


def encode(request: Part) -> bytes:
    """Return the body of a request."""
    return _ENCODER.encode(request)


def unchanged(key: bytes, mod_revision: int) -> Part:
    """Compare: `key` was last changed by that change; 0 means that it does not exist."""
    return {"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": str(mod_revision)}


def put(key: bytes, value: bytes) -> Part:
    """Write a key, and take any lease from it."""
    return {"request_put": {"key": key, "value": value}}


def delete(key: bytes) -> Part:
    """Remove a key."""
    return {"request_delete_range": {"key": key}}


def get(key: bytes, *, keys_only: bool = False) -> Part:
    """Read one key."""
    return {"request_range": {"key": key, "keys_only": keys_only}}


def get_range(start: bytes, end: bytes, *, limit: int, keys_only: bool = False) -> Part:
    """Read at most `limit` keys from `start` to before `end`."""
    return {"request_range": range_of(start, end, limit=limit, keys_only=keys_only)}


def range_of(start: bytes, end: bytes, *, limit: int, keys_only: bool = False) -> Part:
    """Return the request that reads such a range by itself."""
    return {"key": start, "range_end": end, "limit": limit, "keys_only": keys_only}


def transaction(compare: Sequence[Part], success: Sequence[Part], failure: Sequence[Part] = ()) -> Part:
    """Carry out `success` if everything that is compared holds, otherwise `failure`; others see all of it or none."""
    return {"compare": compare, "success": success, "failure": failure}
