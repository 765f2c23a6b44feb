"""What the whole server, a space and a user may have: the sizes and numbers that the operator has set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec


class SubjectKind(StrEnum):
    """Whom a limit is for."""

    INSTANCE = "instance"
    """All uploads of the server."""
    SPACE = "space"
    """All uploads to one space."""
    USER = "user"
    """All uploads of one user, whatever the space; of those who have no name, together."""


class Subject(NamedTuple):
    """One of those whom limits are for."""

    kind: SubjectKind
    name: str = ""
    """Empty: the whole server, or users without a name."""

    def __str__(self) -> str:
        if self.kind is SubjectKind.INSTANCE:
            return "this server"
        return f"{self.kind} {self.name!r}" if self.name else "users without a name"

    def facts(self) -> dict[str, str]:
        """Return it for programs."""
        return {"kind": self.kind.value, "name": self.name}


THE_INSTANCE = Subject(SubjectKind.INSTANCE)


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """What one of them may have. None: there is no limit."""

    max_size_bytes: int | None = None
    """The largest file."""
    quota_bytes: int | None = None
    """The sum of all files that are kept, and of those on their way in as large as they will be."""
    max_unfinished: int | None = None
    """Uploads that have begun and whose bytes have not all arrived."""
    max_receiving: int | None = None
    """Requests whose bytes are being taken in at the same moment, in each process."""
    max_per_minute: int | None = None
    """Uploads that are begun within a minute, in each process."""

    @property
    def is_counted(self) -> bool:
        """Whether an account must be kept to know that it is not exceeded."""
        return self.quota_bytes is not None or self.max_unfinished is not None


class Allowances(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of all."""

    instance: Allowance = Allowance()
    each_space: Allowance = Allowance()
    """For spaces that are not in `spaces`."""
    each_user: Allowance = Allowance()
    """For users that are not in `users`."""
    spaces: Mapping[str, Allowance] = {}
    users: Mapping[str, Allowance] = {}

    def of(self, subject: Subject) -> Allowance:
        """Return what somebody may have."""
        match subject.kind:
            case SubjectKind.SPACE:
                return self.spaces.get(subject.name, self.each_space)
            case SubjectKind.USER:
                return self.users.get(subject.name, self.each_user)
            case _:
                return self.instance

    def about(self, space: str, owner: str) -> Iterator[tuple[Subject, Allowance]]:
        """Yield those whom an upload counts for, and what they may have."""
        for subject in (THE_INSTANCE, Subject(SubjectKind.SPACE, space), Subject(SubjectKind.USER, owner)):
            yield subject, self.of(subject)

    def counted(self, space: str, owner: str) -> list[tuple[Subject, Allowance]]:
        """Return those of them for whom accounts are kept."""
        return [(subject, allowance) for subject, allowance in self.about(space, owner) if allowance.is_counted]

    def largest(self, space: str, owner: str) -> tuple[int, Subject] | None:
        """Return the largest file that may be sent, and who says so; None: any."""
        sizes = [(one.max_size_bytes, subject) for subject, one in self.about(space, owner)]
        return min(((size, subject) for size, subject in sizes if size is not None), default=None)

    def named(self) -> list[Subject]:
        """Return those who were given a limit by name, as far as accounts are kept for them; the server first."""
        subjects = [
            THE_INSTANCE,
            *(Subject(SubjectKind.SPACE, name) for name in self.spaces),
            *(Subject(SubjectKind.USER, name) for name in self.users),
        ]
        return [subject for subject in subjects if self.of(subject).is_counted]

    @property
    def every(self) -> tuple[Allowance, ...]:
        """What anybody may have."""
        return (self.instance, self.each_space, self.each_user, *self.spaces.values(), *self.users.values())

    @property
    def any_counted(self) -> bool:
        """Whether there is anybody for whom accounts are to be kept."""
        return any(one.is_counted for one in self.every)


UNLIMITED = Allowances()
