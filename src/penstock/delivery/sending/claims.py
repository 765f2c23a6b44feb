"""Who may fetch the bytes of an upload right now: the attempt of a step whose answer is awaited, and nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ...core.emit import awaited_id
from ...core.progress import State
from ...errors import PenstockError

if TYPE_CHECKING:
    from ...store.base import ProgressStore
    from .tokens import Tokens


class WrongToken(PenstockError):
    """The address was not made by this server, or not for this upload and start."""

    code = "wrong-token"


class StepOver(PenstockError):
    """The attempt that the address was made for is not awaited any more; the address will never work again."""

    code = "step-over"


class TokenUsed(StepOver):
    """The address was good for one reading, and the bytes were read."""

    code = "token-used"


class Claim(NamedTuple):
    """What an address lets its holder do."""

    upload_id: str
    start_id: str
    step: str
    """The step whose start this is."""


class Claims:
    """Checks addresses."""

    def __init__(self, tokens: Tokens, store: ProgressStore) -> None:
        self._tokens = tokens
        self._store = store

    async def check(self, upload_id: str, start_id: str, token: str) -> Claim:
        """Return what an address is good for.

        Raises:
            WrongToken: nothing, and it never was.
            StepOver: nothing any more.
            StoreUnavailable: nobody can tell now.
        """
        if not self._tokens.fits(token, upload_id, start_id):
            raise WrongToken("this address is none of this server's. Take it from the start event as it is.")
        step = await awaited_step(self._store, upload_id, start_id)
        if step is None:
            raise StepOver(
                f"the step that this address was made for is over: upload {upload_id} does not wait for it any more. "
                "Another attempt has an address of its own."
            )
        return Claim(upload_id, start_id, step)

    async def holds(self, claim: Claim) -> bool:
        """Tell whether a claim is still good.

        Raises:
            StoreUnavailable: nobody can tell now.
        """
        return await awaited_step(self._store, claim.upload_id, claim.start_id) is not None


async def awaited_step(store: ProgressStore, upload_id: str, start_id: str) -> str | None:
    """Return the step that was started by that event, if its answer is awaited; else None.

    Raises:
        StoreUnavailable: nobody can tell now.
    """
    saved = await store.get(upload_id)
    if saved is None or saved.progress.state is not State.STEP or awaited_id(saved.progress) != start_id:
        return None
    return saved.progress.status.current_step
