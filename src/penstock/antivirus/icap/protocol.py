"""What is sent by ICAP (RFC 3507), and what a service says that it can do. No I/O.

A scan is a REQMOD or RESPMOD request that carries the file as the body of an HTTP message. The body is chunked. With a
preview, its beginning is sent first, and the rest when the server says `100 Continue`; `0; ieof` says that the preview
was everything::

    REQMOD icap://host:1344/avscan ICAP/1.0
    Host: host:1344
    Allow: 204
    Preview: 1024
    Encapsulated: req-hdr=0, req-body=81

    POST http://penstock.invalid/file HTTP/1.1
    ...
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from ..base import ScannerProtocolError

if TYPE_CHECKING:
    from .address import Address
    from .answers import Answer

LONGEST_PREVIEW_BYTES = 64 * 1024
LAST_CHUNK = b"0\r\n\r\n"
"""Ends a body, or a preview that goes on."""
LAST_CHUNK_OF_ALL = b"0; ieof\r\n\r\n"
"""Ends a preview that was the whole body."""


class Method(StrEnum):
    """How a file is put before a service."""

    REQMOD = "REQMOD"
    """As if somebody uploaded it."""
    RESPMOD = "RESPMOD"
    """As if somebody downloaded it."""


class Options(msgspec.Struct, frozen=True):
    """What a service can do."""

    methods: frozenset[str]
    service: str = ""
    istag: str = ""
    """Changes with what the service knows, such as its signatures."""
    preview_bytes: int | None = None
    """How large a preview may be; None: it wants none."""
    allows_204: bool = False
    """Whether it can say that nothing is to be changed without sending everything back."""
    max_connections: int | None = None
    ttl_seconds: int | None = None


def options_request(address: Address) -> bytes:
    """Return the question for what a service can do."""
    lines = (
        f"OPTIONS {address} ICAP/1.0",
        f"Host: {address.authority}",
        "User-Agent: penstock",
        "Allow: 204",
        "Encapsulated: null-body=0",
    )
    return _block(*lines)


def scan_request(address: Address, method: Method, size_bytes: int, preview_bytes: int | None) -> bytes:
    """Return everything of a request that comes before the first chunk; an empty file has no chunks at all."""
    file = "http://penstock.invalid/file"
    about = ("Content-Type: application/octet-stream", f"Content-Length: {size_bytes}")
    if method is Method.REQMOD:
        heads = [_block(f"POST {file} HTTP/1.1", "Host: penstock.invalid", *about)]
        encapsulated = f"req-hdr=0, {'req' if size_bytes else 'null'}-body={len(heads[0])}"
    else:
        heads = [_block(f"GET {file} HTTP/1.1", "Host: penstock.invalid"), _block("HTTP/1.1 200 OK", *about)]
        first, both = len(heads[0]), len(heads[0]) + len(heads[1])
        encapsulated = f"req-hdr=0, res-hdr={first}, {'res' if size_bytes else 'null'}-body={both}"
    lines = [f"{method} {address} ICAP/1.0", f"Host: {address.authority}", "User-Agent: penstock", "Allow: 204"]
    if preview_bytes is not None:
        lines.append(f"Preview: {preview_bytes}")
    return _block(*lines, f"Encapsulated: {encapsulated}") + b"".join(heads)


def chunk(data: bytes) -> bytes:
    """Return a chunk; `data` must not be empty, for that would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def options_of(answer: Answer) -> Options:
    """Read the answer to OPTIONS.

    Raises:
        ScannerProtocolError: it is none, or names no method that we have.
    """
    fields = answer.icap.fields
    methods = frozenset(word.upper() for word in fields.words("Methods")) & frozenset(Method)
    if answer.icap.status != 200 or not methods:
        raise ScannerProtocolError(
            f"the ICAP server answered {answer.icap.status} {answer.icap.reason!r}, with the methods "
            f"{fields.get('Methods')!r}, when asked what the service can do"
        )
    return Options(
        methods=methods,
        service=(fields.get("Service") or fields.get("Server") or "ICAP")[:200],
        istag=(fields.get("ISTag") or "").strip('"')[:200],
        preview_bytes=_number(fields.get("Preview")),
        allows_204="204" in fields.words("Allow"),
        max_connections=_number(fields.get("Max-Connections")),
        ttl_seconds=_number(fields.get("Options-TTL")),
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else None


def _block(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii")
