"""Which steps were ever answered: in a bucket of our own, where no Go service looks for records."""

from __future__ import annotations

from base64 import b32encode
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
import structlog

from .reader import Reader
from .stream import Stream, config_of

if TYPE_CHECKING:
    from .requests import Requests

log = structlog.get_logger(__name__)


class Answer(msgspec.Struct, frozen=True):
    """The latest answer for a step."""

    step: str
    at: datetime


class Answers:
    """Key-value bucket `<bucket>_answers`: an entry per step, under the step's name in base32. Made when needed."""

    def __init__(self, requests: Requests, bucket: str, *, persistent: bool) -> None:
        name = f"{bucket}_answers"
        self._prefix = f"$KV.{name}."
        config = config_of(
            f"KV_{name}",
            "Which steps of postprocessing were answered, and when (Penstock)",
            [f"{self._prefix}>"],
            max_age=None,
            persistent=persistent,
            max_msgs_per_subject=1,
            deny_delete=True,
        )
        self._stream = Stream(requests, config)

    async def note(self, step: str, at: datetime) -> None:
        """Note an answer."""
        key = b32encode(step.encode()).decode() or "="
        await self._stream.append(self._prefix + key, msgspec.json.encode(Answer(step, at)), expected=None)

    async def all(self) -> dict[str, datetime]:
        """Return what was noted."""
        if await self._stream.info() is None:
            return {}
        reader = Reader(self._stream)
        found = {}
        try:
            async for page in reader.pages():
                for message in page:
                    try:
                        answer = msgspec.json.decode(message.data, type=Answer)
                    except msgspec.MsgspecError as error:
                        log.error("answer_unreadable", subject=message.subject, error=str(error))  # noqa: TRY400
                        continue
                    found[answer.step] = answer.at
        finally:
            await reader.close()
        return found
