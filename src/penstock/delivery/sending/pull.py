"""The way `pull`: the step fetches the bytes from us, by an address that works for as long as its answer is awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Way

if TYPE_CHECKING:
    from ...events.types import StartPostprocessingStep
    from .base import Report
    from .once import Once
    from .tokens import Tokens

PATH = "/delivery"
ASK = "push"
"""Stands in the path of an address that does not give the bytes, but has them pushed."""


class PullWay(Way):
    """Makes addresses of ours."""

    name = "pull"

    def __init__(self, url: str, tokens: Tokens, *, below: str = "", once: Once | None = None) -> None:
        """Build it.

        Args:
            url: where steps reach this server.
            tokens: makes the secrets.
            below: comes after `PATH`, with a slash in front.
            once: ends addresses with the first complete reading; None: they last as long as the step.
        """
        self._url = f"{url}{PATH}{below}"
        self._tokens = tokens
        self.once = once

    at_once = True

    async def address(self, start: StartPostprocessingStep, start_id: str, report: Report) -> str:
        """Return the address for one attempt. Its secret is in the query: paths are what servers log."""
        del report
        token = self._tokens.mint(start.upload_id, start_id)
        return f"{self._url}/{start.upload_id}/{start_id}?token={token}"
