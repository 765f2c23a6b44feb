"""`Upload-Concat`: what it may say, and what it cannot make us touch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.ids import is_upload_id
from penstock.uploads.errors import BadHeader
from penstock.uploads.protocols.concat import check_concat, parts_of

A, B = "a" * 32, "b" * 32


@pytest.mark.parametrize(
    ("header", "parts"),
    [
        ("partial", ()),
        (f"final;/uploads/{A}", (A,)),
        (f"final;/uploads/{A} /uploads/{B} /uploads/{A}", (A, B, A)),
        (f"final; /uploads/{A}  /uploads/{B} ", (A, B)),
        (f"final;http://host:8080/uploads/{A} https://[::1]:80/p/q/uploads/{B}", (A, B)),
    ],
)
def test_parts_are_read_in_their_order(header: str, parts: tuple[str, ...]) -> None:
    assert check_concat(header) == header.strip()
    assert parts_of(header) == parts


@pytest.mark.parametrize(
    "header",
    [
        *("", "partial;", "PARTIAL", "final", "final;", "final;  ", f"final /uploads/{A}"),
        *(f"final;{A}", f"final;/uploads/{A[:-1]}", f"final;/uploads/{A}/", f"final;/uploads/{A.upper()}"),
        *(f"final;/uploads/{A},/uploads/{B}", f"final;ftp://host/uploads/{A}", f"final;/uploads/{A}#x"),
        *("final;/uploads/../../etc/passwd", f"final;/uploads/{A} x", f"final;//host/uploads/{A}"),
        "final;" + f"/uploads/{A} " * 2000,
    ],
)
def test_anything_else_is_refused(header: str) -> None:
    with pytest.raises(BadHeader, match="Upload-Concat"):
        check_concat(header)


@given(st.text(alphabet="final;/uploads 0a.%\\\x00:@", max_size=120))
def test_only_ids_come_out(text: str) -> None:
    assert all(is_upload_id(part) for part in parts_of(text))
    assert all(is_upload_id(part) for part in parts_of(f"final;/uploads/{A} {text}"))
