"""Notes in a stream of their own, a subject for each: which uploads wait for a virus scanner.

The stream `penstock-held` is made with the first note. It keeps each for three days at the most, longer than the Go
services try a step again, and its number is that of its message.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Any, Final

import structlog
from nats import errors
from nats.js.errors import APIError, NotFoundError

from ..base import BusUnavailable
from ..notes import Notes
from .failures import NATS_ERRORS
from .streams import HELD, HELD_SUBJECT, make_held_stream

if TYPE_CHECKING:
    from nats.js.manager import JetStreamManager

    from ...jetstream import NatsClient

log = structlog.get_logger(__name__)

_ANSWER_SECONDS: Final = 2.0


class NatsNotes(Notes):
    """The notes of all instances."""

    def __init__(self, client: NatsClient, manager: JetStreamManager) -> None:
        self._client = client
        self._manager = manager

    async def add(self, name: str) -> int:
        """Publish the note; see the port."""
        try:
            try:
                return await self._publish(name)
            except errors.NoRespondersError:  # there is no such stream
                await make_held_stream(self._manager)
                return await self._publish(name)
        except NATS_ERRORS as error:
            raise _unavailable(error) from error

    async def take(self, name: str, number: int | None = None) -> bool:
        """Purge it up to its number; see the port."""
        if number is None and (number := await self.find(name)) is None:
            return False
        try:
            question = {"filter": _subject(name), "seq": number + 1}
            return bool((await self._ask(f"$JS.API.STREAM.PURGE.{HELD}", question)).get("purged"))
        except NotFoundError:
            return False
        except NATS_ERRORS as error:
            raise _unavailable(error) from error

    async def find(self, name: str) -> int | None:
        """Ask for its message; see the port."""
        try:
            return (await self._manager.get_last_msg(HELD, _subject(name))).seq
        except NotFoundError:
            return None
        except NATS_ERRORS as error:
            raise _unavailable(error) from error

    async def names(self) -> list[str]:
        """Return the names of all subjects; see the port."""
        try:
            info = await self._manager.stream_info(HELD, subjects_filter=f"{HELD_SUBJECT}.>")
        except NotFoundError:
            return []
        except NATS_ERRORS as error:
            raise _unavailable(error) from error
        return [name for subject in info.state.subjects or {} if (name := _name(subject)) is not None]

    async def _publish(self, name: str) -> int:
        return int((await self._ask(_subject(name), {}))["seq"])

    async def _ask(self, subject: str, question: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(
            (await self._client.request(subject, json.dumps(question).encode(), timeout=_ANSWER_SECONDS)).data
        )
        if "error" in answer:
            APIError.from_error(answer["error"])
        return answer


def _subject(name: str) -> str:
    return f"{HELD_SUBJECT}.{urlsafe_b64encode(name.encode()).decode().rstrip('=')}"


def _name(subject: str) -> str | None:
    """Return what a note is about; None for a subject that is none of ours."""
    token = subject.removeprefix(f"{HELD_SUBJECT}.")
    try:
        name = urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    except ValueError:
        name = None
    if name is None or _subject(name) != subject:
        log.warning("note_not_understood", subject=subject)
        return None
    return name


def _unavailable(error: Exception) -> BusUnavailable:
    return BusUnavailable(f"no notes on NATS: {str(error) or type(error).__name__}. Try again later.")
