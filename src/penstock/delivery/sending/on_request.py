"""The way `push-on-request`: the step asks for its file, which is then sent to it as by `push`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .pull import ASK, PullWay

if TYPE_CHECKING:
    from .base import Way
    from .tokens import Tokens


class PushOnRequestWay(PullWay):
    """Tells the step where to ask for its file, which is then sent by `push`."""

    name = "push-on-request"

    def __init__(self, url: str, tokens: Tokens, push: Way) -> None:
        """`url` is where steps reach this server; `push` sends a file."""
        super().__init__(url, tokens, below=f"/{ASK}")
        self.push = push
