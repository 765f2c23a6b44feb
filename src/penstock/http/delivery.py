"""Serves bytes that are held back to the one attempt of a step that was told their address, for as long as it lasts.

The address is in the step's start event. Its secret is in the query, which nothing of ours logs.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from ..delivery.sending.claims import StepOver, TokenUsed, WrongToken
from ..delivery.sending.on_request import PushOnRequestWay
from ..delivery.sending.presigned import PresignedWay
from ..delivery.sending.pull import ASK, PATH, PullWay
from ..errors import NotFound, PenstockError, Unavailable
from ..uploads.upload import Phase
from .asgi import Answer, Receive, Scope, Send, exchange_of, headers_of, send_answer
from .content import FileParts, parts_of, stream
from .problems import answer_to, answer_to_failure, method_not_allowed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..delivery.sending.claims import Claim
    from ..delivery.sending.once import Once
    from ..uploads.upload import Upload
    from .asgi import Exchange
    from .services import Services

ROOT: Final = PATH
_READING: Final = ("GET", "HEAD")
_LOOK_SECONDS: Final = 1.0
"""How long bytes may go on to flow after the step is over."""


class Delivering:
    """The endpoint for steps."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._blobs = services.blobs
        self._claims = services.claims
        self._ways = services.ways
        self._clock = services.clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        del receive
        head = scope["method"] == "HEAD"
        try:
            claim, asks = await self._claim(scope)
            answer = await (self._push(scope, claim) if asks else self._answer(scope, claim))
        except PenstockError as error:
            answer = answer_to(error)
        except Exception as error:  # noqa: BLE001  the last line: what went wrong is logged and answered
            answer = answer_to_failure(scope["method"], ROOT, error)
        if isinstance(answer, Answer):
            await send_answer(send, answer, head=head)
            return

        parts, exchange = answer, exchange_of(scope)

        def read(upload_id: str, *, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
            pieces = self._while_it_lasts(claim, self._blobs.read(upload_id, start=start, stop=stop))
            once = self._once(claim)
            return pieces if once is None else _noted(pieces, once, claim, start, stop, parts.size_bytes, exchange)

        await stream(parts, send, read, exchange, head=head)

    async def _claim(self, scope: Scope) -> tuple[Claim, bool]:
        """Return what the address is good for, and whether it is to have the file pushed."""
        below = scope["path"].removeprefix(f"{ROOT}/")
        names = below.removeprefix(f"{ASK}/").split("/")
        if len(names) != 2:
            raise NotFound(f"there is nothing at {scope['path'][:100]}. The address is in the start event of a step.")
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        claim = await self._claims.check(names[0], names[1], query.get("token", [""])[0])
        asks = below.startswith(f"{ASK}/")
        if asks is not isinstance(self._ways.get(claim.step), PushOnRequestWay):
            raise WrongToken("this address is none of this server's. Take it from the start event as it is.")
        if (once := self._once(claim)) is not None:
            await once.check(claim)
        return claim, asks

    def _once(self, claim: Claim) -> Once | None:
        """Return what counts the readings of an address that is good for one; None: it lasts as long as the step."""
        way = self._ways.get(claim.step)
        return way.once if isinstance(way, PullWay) else None

    async def _push(self, scope: Scope, claim: Claim) -> Answer:
        if scope["method"] != "POST":
            return method_not_allowed(scope["method"], f"{ROOT}/{ASK}", ("POST",))
        way = self._ways.get(claim.step)
        if isinstance(way, PushOnRequestWay):
            await self._services.dispatcher.ask(claim, way.push)
        return Answer(202, {"Cache-Control": "no-store"})

    async def _answer(self, scope: Scope, claim: Claim) -> Answer | FileParts:
        if scope["method"] not in _READING:
            return method_not_allowed(scope["method"], ROOT, _READING)
        way = self._ways.get(claim.step)
        if isinstance(way, PresignedWay) and scope["method"] == "GET":
            upload = await self._upload(claim)
            location = {"Location": await way.link(upload.id, upload.size_bytes or 0), "Cache-Control": "no-store"}
            return Answer(307, {**location, "Referrer-Policy": "no-referrer"})
        answer = await parts_of(
            self._blobs, await self._upload(claim), headers_of(scope), head=scope["method"] == "HEAD"
        )
        # Whatever lies in between must not keep what is held back.
        kept = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        if isinstance(answer, Answer):
            return Answer(answer.status, {**answer.headers, **kept}, answer.body)
        answer.headers |= kept
        return answer

    async def _upload(self, claim: Claim) -> Upload:
        upload = await self._services.upload(claim.upload_id)
        if upload.phase is not Phase.PROCESSING:
            raise StepOver(f"upload {upload.id} is not in processing any more: it is {upload.phase}.")
        return upload

    async def _while_it_lasts(self, claim: Claim, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Yield pieces until the step is over; then break off, so that nobody takes a part for the whole."""
        looked_at, once = self._clock.monotonic(), self._once(claim)
        async with aclosing(pieces):
            async for piece in pieces:
                if once is not None and once.is_used_up(claim):
                    raise TokenUsed(f"upload {claim.upload_id}: somebody else has read it meanwhile")
                if self._clock.monotonic() - looked_at >= _LOOK_SECONDS:
                    looked_at = self._clock.monotonic()
                    await self._check(claim)
                yield piece

    async def _check(self, claim: Claim) -> None:
        try:
            if (once := self._once(claim)) is not None:
                await once.check(claim)
            if await self._claims.holds(claim):
                return
        except Unavailable:
            return  # nobody can tell now: it was good when the request came
        raise StepOver(f"upload {claim.upload_id}: the step ended while it fetched the bytes")


async def _noted(
    pieces: AsyncGenerator[bytes, None],
    once: Once,
    claim: Claim,
    start: int,
    stop: int | None,
    size_bytes: int,
    exchange: Exchange | None,
) -> AsyncGenerator[bytes, None]:
    """Yield pieces; when all of them were taken, note it. What a broken connection swallows was not taken."""
    async with aclosing(pieces):
        async for piece in pieces:
            yield piece
    if exchange is None or not exchange.unheard:
        await once.note(claim, start, size_bytes if stop is None else stop, size_bytes)
