from __future__ import annotations

from penstock.delivery.sending.tokens import KEY_BYTES, Tokens

OURS = Tokens(b"k" * KEY_BYTES)


def test_a_token_is_for_one_start_of_one_upload_at_one_server() -> None:
    token = OURS.mint("upload", "start")
    assert OURS.fits(token, "upload", "start")
    assert not OURS.fits(token, "upload", "start2")
    assert not OURS.fits(token, "upload2", "start")
    assert not OURS.fits(token, "uploadstart", "")
    assert not Tokens(b"l" * KEY_BYTES).fits(token, "upload", "start")
    for wrong in ("", token[:-1], f"{token}=", "ü" * 43, "\ud800"):
        assert not OURS.fits(wrong, "upload", "start")
