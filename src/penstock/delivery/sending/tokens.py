"""Tokens that let one attempt of one step at the bytes of one upload.

A token is a MAC over the upload's ID and the ID of the start event, which names upload, run, step and attempt. Nothing
is stored: whether that very start is still awaited is in the upload's record, and with the answer, a cancellation or a
timeout it is not (`claims`). So a token dies with its step, whatever is killed meanwhile.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from hashlib import sha256

KEY_BYTES = 32


class Tokens:
    """Makes tokens, and knows its own."""

    def __init__(self, key: bytes) -> None:
        """`key` is a secret of `KEY_BYTES` random bytes."""
        self._key = key

    def mint(self, upload_id: str, start_id: str) -> str:
        """Return the token: 43 characters that may stand in a URL."""
        mac = hmac.digest(self._key, f"delivery\x1f{upload_id}\x1f{start_id}".encode(), sha256)
        return urlsafe_b64encode(mac).decode().rstrip("=")

    def fits(self, token: str, upload_id: str, start_id: str) -> bool:
        """Tell whether this is the token for that upload and start."""
        return hmac.compare_digest(self.mint(upload_id, start_id).encode(), token.encode(errors="replace"))
