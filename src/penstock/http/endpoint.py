"""What the endpoints that take bytes have in common: straight on ASGI, every failure answered, no body left lying."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ..errors import PenstockError
from .asgi import Answer, Body, Receive, Scope, Send, exchange_of, send_answer
from .problems import answer_to, answer_to_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .services import Services


class Work(Protocol):
    """Does what one request asks for."""

    async def __call__(self, scope: Scope, headers: Mapping[str, str], body: Body) -> Answer:
        """Return the answer, which is sent when all is done."""
        ...


class Endpoint(ABC):
    """A way to upload: a subclass does what a request asks for."""

    def __init__(self, services: Services) -> None:
        self._receiver = services.receiver
        self._address = services.address
        self._callers = services.callers
        self._cors = services.cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send, headers: Mapping[str, str]) -> None:
        """Answer one request."""
        await respond(self._answer, scope, receive, send, headers, always=partial(self._always, scope["method"]))

    @abstractmethod
    async def _answer(self, scope: Scope, headers: Mapping[str, str], body: Body) -> Answer:
        """Return the answer to a request."""

    @abstractmethod
    def _always(self, method: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return the headers that no answer to such a request goes without."""


async def respond(
    work: Work,
    scope: Scope,
    receive: Receive,
    send: Send,
    headers: Mapping[str, str],
    *,
    always: Callable[[Mapping[str, str]], Mapping[str, str]] | None = None,
) -> None:
    """Have a request worked on, and answer it, whatever happens.

    Args:
        work: does what is asked for.
        scope: the request.
        receive: where its body comes from.
        send: where the answer goes.
        headers: those of the request, which are read once.
        always: takes them, and returns those that no answer goes without.
    """
    try:
        answer = await work(scope, headers, Body(scope, headers, receive))
    except PenstockError as error:
        answer = answer_to(error)
    except Exception as error:  # noqa: BLE001  the last line: what went wrong is logged and answered
        answer = answer_to_failure(scope["method"], scope["path"], error)
    if always is not None:
        answer = Answer(answer.status, {**answer.headers, **always(headers)}, answer.body)
    await send_answer(send, answer, head=scope["method"] == "HEAD", exchange=exchange_of(scope))
