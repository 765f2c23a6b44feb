"""Which steps an upload goes through: the first rule that fits decides, else the plain list.

A rule is a table of conditions and the steps that follow. All its conditions have to hold; of several values of one
condition, one is enough. Rules are looked at when an upload's bytes have arrived: what is on its way then keeps the
steps that were chosen, whatever changes later.
"""

from __future__ import annotations

from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

import msgspec

from ..errors import ConfigurationError
from ..sizes import exact_size, parse_size
from .media_types import media_type_of
from .progress import FINISHED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..events.types import BytesReceived

PATTERNS: Final = ("space", "resource", "user", "group", "media_type", "extension")
"""Conditions that are patterns, as in a shell: `*` stands for anything, `?` for one character."""
SIZES: Final = ("min_size", "max_size")
KEYS: Final = ("name", *PATTERNS, *SIZES, "steps")

_IN_ANY_CASE: Final = ("media_type", "extension")
_ALIKE: Final = 0.6


class StepRule(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions, and the steps for uploads that meet all of them. An empty condition is none."""

    steps: tuple[str, ...]
    """In order; empty: such uploads are released as soon as all bytes are there."""
    name: str = ""
    """For people."""
    space: tuple[str, ...] = ()
    """IDs of the space that the file goes to."""
    resource: tuple[str, ...] = ()
    """IDs of the file within its space."""
    user: tuple[str, ...] = ()
    """Login names or IDs of who uploaded it."""
    group: tuple[str, ...] = ()
    """IDs of groups, one of which that user is in."""
    media_type: tuple[str, ...] = ()
    """Types that files of this name usually have, such as `image/*`; in small letters."""
    extension: tuple[str, ...] = ()
    """What the file's name ends in after a dot, such as `tif` or `tar.gz`; in small letters. "" fits names without."""
    min_size_bytes: int | None = None
    """The smallest size that fits; None: any."""
    max_size_bytes: int | None = None
    """The largest size that fits; None: any."""

    @property
    def fits_all(self) -> bool:
        """Whether there is no condition."""
        sizes = (self.min_size_bytes, self.max_size_bytes)
        return not any(getattr(self, condition) for condition in PATTERNS) and sizes == (None, None)

    def fits(self, received: BytesReceived) -> bool:
        """Tell whether an upload meets all conditions; one that says nothing about a condition does not meet it."""
        if self.min_size_bytes is not None and received.filesize < self.min_size_bytes:
            return False
        if self.max_size_bytes is not None and received.filesize > self.max_size_bytes:
            return False
        return all(
            _fits(condition, patterns, received) for condition in PATTERNS if (patterns := getattr(self, condition))
        )

    def explain(self) -> str:
        """Return the rule as a sentence for people."""
        conditions = [
            f"{condition} {' or '.join(map(repr, patterns))}"
            for condition in PATTERNS
            if (patterns := getattr(self, condition))
        ]
        if self.min_size_bytes is not None:
            conditions.append(f"{exact_size(self.min_size_bytes)} or more")
        if self.max_size_bytes is not None:
            conditions.append(f"{exact_size(self.max_size_bytes)} or less")
        told = f"{self.name}: " if self.name else ""
        return f"{told}{', '.join(conditions) or 'everything'} → {', '.join(self.steps) or 'no steps'}"


def choose(rules: Sequence[StepRule], received: BytesReceived) -> StepRule | None:
    """Return the first rule that fits an upload; None: none does."""
    return next((rule for rule in rules if rule.fits(received)), None)


def _fits(condition: str, patterns: Sequence[str], received: BytesReceived) -> bool:
    if condition == "extension":
        return any(_ends_in(received.filename.lower(), pattern) for pattern in patterns)
    values = [value for value in _values(condition, received) if value]
    return any(fnmatchcase(value, pattern) for value in values for pattern in patterns)


def _values(condition: str, received: BytesReceived) -> Sequence[str]:
    """Return what an upload says about a condition."""
    resource, user = received.resource_id, received.executing_user
    match condition:
        case "space":
            return () if resource is None else (resource.space_id,)
        case "resource":
            return () if resource is None else (resource.opaque_id,)
        case "user":
            return () if user is None else (user.username, "" if user.id is None else user.id.opaque_id)
        case "group":
            return () if user is None else user.groups
        case _:
            return (media_type_of(received.filename),)


def _ends_in(filename: str, extension: str) -> bool:
    if not extension:
        return "." not in filename[1:]
    return fnmatchcase(filename, f"?*.{extension}")


def parse_rules(tables: Sequence[Mapping[str, object]], origin: str) -> tuple[StepRule, ...]:
    """Return the rules that an operator wrote, in order.

    Args:
        tables: One for each rule, as TOML has them.
        origin: Where they are written, for messages.

    Raises:
        ConfigurationError: one is wrong; the message has a line for each thing that is.
    """
    rules: list[StepRule] = []
    problems: list[str] = []
    for number, table in enumerate(tables, start=1):
        parser = _Parser(table)
        rule = parser.rule()
        if not parser.problems and rules and rules[-1].fits_all:
            parser.problems.append("is never reached: the one before it has no condition. Move that one to the end.")
        name = f" {table['name']!r}" if isinstance(table.get("name"), str) else ""
        problems += [f"step_rules ({origin}): rule {number}{name}: {problem}" for problem in parser.problems]
        rules.append(rule)
    if problems:
        raise ConfigurationError("\n".join(problems))
    return tuple(rules)


class _Parser:
    """Reads one rule, and collects what is wrong with it."""

    def __init__(self, table: Mapping[str, object]) -> None:
        self._table = table
        self.problems: list[str] = []

    def rule(self) -> StepRule:
        for key in self._table:
            if key not in KEYS:
                close = get_close_matches(key, KEYS, 1, _ALIKE)
                hint = f"Did you mean {close[0]}?" if close else f"Write one of {', '.join(KEYS)}."
                self.problems.append(f"{key}: there is no such condition. {hint}")
        smallest, largest = self._size("min_size"), self._size("max_size")
        if smallest is not None and largest is not None and smallest > largest:
            self.problems.append("min_size is more than max_size, so nothing fits.")
        name = self._table.get("name", "")
        if not isinstance(name, str):
            self.problems.append("name must be text in quotes.")
        return StepRule(
            name=str(name),
            steps=self._steps(),
            min_size_bytes=smallest,
            max_size_bytes=largest,
            **{condition: self._patterns(condition) for condition in PATTERNS},
        )

    def _texts(self, key: str) -> tuple[str, ...] | None:
        """Return a text, or an array of them; None: it is neither."""
        value = self._table[key]
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) for one in values):
            self.problems.append(f"{key} must be text in quotes, or an array of them.")
            return None
        return tuple(str(one).strip() for one in values)

    def _patterns(self, condition: str) -> tuple[str, ...]:
        if condition not in self._table or (patterns := self._texts(condition)) is None:
            return ()
        if not patterns or ("" in patterns and condition != "extension"):
            self.problems.append(f"{condition} must name something. Leave it out where anything will do.")
        if condition == "extension":
            patterns = tuple(pattern.removeprefix(".") for pattern in patterns)
        return tuple(pattern.lower() for pattern in patterns) if condition in _IN_ANY_CASE else patterns

    def _size(self, key: str) -> int | None:
        value = self._table.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | str):
            self.problems.append(f"{key} must be a size, such as 10485760 or '10MiB'.")
            return None
        try:
            return parse_size(str(value))
        except ValueError as error:
            self.problems.append(f"{key} = {value}: {error}")
            return None

    def _steps(self) -> tuple[str, ...]:
        if "steps" not in self._table:
            self.problems.append("steps is missing. Write steps = [] where none shall run.")
            return ()
        steps = self._texts("steps")
        for step in dict.fromkeys(steps or ()):
            if not step or step == FINISHED:
                self.problems.append(f"{step!r} cannot be the name of a step; choose another word.")
            elif steps is not None and steps.count(step) > 1:
                self.problems.append(f"step {step!r} is listed twice; name each step once.")
        return steps or ()
