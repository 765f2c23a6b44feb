"""What a question to the server may end in other than an answer."""

from __future__ import annotations

from typing import Final

from nats import errors

NATS_ERRORS: Final = (errors.Error, OSError, TimeoutError)
