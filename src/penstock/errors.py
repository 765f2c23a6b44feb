"""The errors of Penstock.

One root, and a class of its own only where a caller acts differently::

    PenstockError
    ├── ConfigurationError      a setting is wrong: say so and exit with status 2
    ├── InvalidRequest          the caller asked for something that cannot be; nothing was changed
    │   └── NotFound            no such upload, file or session
    ├── Unavailable             a part we need did not answer: try again later
    └── (each port adds its own beside its `base`)

Status codes of HTTP and of the command line are mapped in `http/` and `cli/` only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Mapping


class PenstockError(Exception):
    """Anything that Penstock raises on purpose.

    The message is one sentence for people: it names the thing, the value, where it came from and the way out.
    """

    code: ClassVar[str] = "error"
    """Stable, machine-readable name of the kind of error; part of the public interface."""
    retryable: ClassVar[bool] = False
    """Whether the same call may succeed later with nothing changed by the caller."""
    facts: Mapping[str, object] = {}
    """What programs may want to know of it, by name; part of the public interface, like `code`."""

    told: str = ""
    """What uploaders may see, where the message names machines and folders of ours; empty: all of the message."""

    def telling(self, **facts: object) -> Self:
        """Return this error with facts for programs."""
        self.facts = facts
        return self


class ConfigurationError(PenstockError):
    """A setting is wrong; nothing has been started."""

    code = "configuration"


class InvalidRequest(PenstockError):
    """The request cannot be carried out as it is; nothing was changed."""

    code = "invalid-request"


class NotFound(InvalidRequest):
    """There is no such upload, session or file (any more)."""

    code = "not-found"


class Unavailable(PenstockError):
    """A part that we need did not answer in time, or refused for now."""

    code = "unavailable"
    retryable = True
