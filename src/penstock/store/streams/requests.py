"""Questions to a NATS server, each within a time limit, and its answers as JetStream means them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeVar

import msgspec
from nats import errors

from ...errors import PenstockError
from ...jetstream import Deadlines
from ...jetstream.headers import NO_RESPONDERS, status_of
from ..base import StoreUnavailable

if TYPE_CHECKING:
    from datetime import timedelta

    from ...jetstream import NatsClient


T = TypeVar("T", bound="Reply")

NO_MESSAGE: Final = 10037
NO_STREAM: Final = 10059
STREAM_EXISTS: Final = 10058
WRONG_SEQUENCE: Final = 10071


class Trouble(msgspec.Struct, frozen=True):
    """An error, as JetStream reports it."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What all answers of JetStream have in common."""

    error: Trouble | None = None


class Refused(PenstockError):
    """JetStream answered with an error."""

    code = "jetstream-refused"

    def __init__(self, what: str, trouble: Trouble) -> None:
        super().__init__(f"{what}: JetStream says {trouble.description!r} ({trouble.err_code})")
        self.err_code = trouble.err_code


class NobodyAnswers(StoreUnavailable):
    """Nobody listens on a subject: there is no such stream, no such consumer, or no JetStream (for now)."""


class Answer(NamedTuple):
    """What came back."""

    data: bytes
    headers: bytes
    """As they came; empty when there are none."""


class Requests:
    """Asks on one connection, any number of questions at a time. Any method may raise `StoreUnavailable`.

    Subjects are not checked: they consist of names of buckets and of base32 or base64.
    """

    def __init__(self, client: NatsClient, *, timeout: timedelta) -> None:
        self.client: Final = client
        self.timeout_seconds: Final = timeout.total_seconds()
        self._inbox = client.new_inbox()
        self._asked: dict[bytes, asyncio.Future[Answer]] = {}
        """What waits for an answer, by the subject to which it is sent."""
        self._number = 0
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(_give_up)

    async def __aenter__(self) -> Self:
        """Listen for answers; the connection is open for as long as this is."""
        self._listening = self.client.listen(f"{self._inbox}.*", self._answered)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.client.unlisten(self._listening)
        self._deadlines.close()

    def _answered(self, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        del reply
        asked = self._asked.get(subject)
        if asked is not None and not asked.done():
            asked.set_result(Answer(data, headers))

    async def ask(self, subject: str, payload: bytes = b"", *, headers: bytes = b"") -> Answer:
        """Send a message and wait for the answer to it.

        Raises:
            NobodyAnswers: nobody listens on `subject`.
            StoreUnavailable: no connection, or no answer in time; what was asked for may or may not happen.
        """
        self._number += 1
        reply = f"{self._inbox}.{self._number}".encode()
        asked: asyncio.Future[Answer] = self._loop.create_future()
        self._asked[reply] = asked
        self._deadlines.add(asked, self.timeout_seconds)
        try:
            self.client.send(subject.encode(), payload, reply=reply, headers=headers)
            answer = await asked
        except TimeoutError as error:
            raise StoreUnavailable(f"NATS: no answer on {subject} within {self.timeout_seconds:g} s") from error
        except (errors.Error, OSError) as error:
            raise StoreUnavailable(f"NATS: {str(error) or type(error).__name__}, on {subject}") from error
        finally:
            self._deadlines.remove(asked)
            del self._asked[reply]
        if status_of(answer.headers) == NO_RESPONDERS:
            raise NobodyAnswers(f"NATS: nobody answers on {subject}. Is JetStream enabled?")
        return answer

    async def api(self, verb: str, body: object, reply: type[T]) -> T:
        """Call JetStream's API, such as `STREAM.INFO.x`; `body` is sent as JSON unless it is None.

        Raises:
            Refused: the answer is an error.
        """
        payload = b"" if body is None else msgspec.json.encode(body)
        answer = await self.ask(f"$JS.API.{verb}", payload)
        return understood(verb, answer.data, reply)


def _give_up(asked: asyncio.Future[Answer]) -> None:
    if not asked.done():
        asked.set_exception(TimeoutError())


def understood(what: str, data: bytes, reply: type[T]) -> T:
    """Read an answer.

    Raises:
        Refused: it is an error.
        StoreUnavailable: it is nothing that JetStream says.
    """
    try:
        answer = msgspec.json.decode(data, type=reply)
    except msgspec.MsgspecError as error:
        raise StoreUnavailable(f"NATS: the answer to {what} cannot be read: {error}") from error
    if answer.error is not None:
        raise Refused(what, answer.error)
    return answer
