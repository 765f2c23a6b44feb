"""What one line of the table of settings consists of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from .kinds import Kind
from .services import EVERYWHERE, Service, readers

T = TypeVar("T")

PREFIX = "PENSTOCK_"


@dataclass(frozen=True, slots=True)
class OtherName:
    """A variable of the Go services, or of an older version, that sets the same."""

    variable: str
    kind: Kind[Any] | None = None
    """How its value is written; None: as the setting's own."""
    convert: Callable[[Any, Any], Any] | None = None
    """Makes the setting's value of (what the setting is without this variable, what this variable says)."""
    adds: bool = False
    """Whether it changes what the other names say, instead of standing in line with them."""
    deprecated: bool = False
    instead: str = ""
    """What to write instead of a deprecated one."""
    when: Callable[[Mapping[str, Any], Mapping[str, str]], bool] | None = None
    """Tells from (the values of the settings before this one, the environment) whether it counts; None: always."""

    @property
    def services(self) -> tuple[Service, ...]:
        """The services that read it."""
        return readers(self.variable)


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting. Its name is the field's, without the unit that a field of bytes ends in."""

    attribute: str
    kind: Kind[Any]
    default: str
    """As an operator would write it."""
    sentence: str
    others: tuple[OtherName, ...]
    """In the order in which they count: the last one that is set wins; our own name beats them all."""
    group: str
    secret: bool
    services: tuple[Service, ...]
    """Which services read it; for the others it does not exist."""
    defaults: Mapping[Service, str]
    """Where a service has another default than `default`."""

    @property
    def name(self) -> str:
        """Return the key in TOML."""
        return self.attribute.removesuffix("_bytes")

    @property
    def variable(self) -> str:
        """Return our own name in the environment."""
        return PREFIX + self.name.upper()

    def default_for(self, service: Service) -> str:
        """Return the default, as an operator would write it."""
        return self.defaults.get(service, self.default)

    def names_for(self, service: Service) -> list[OtherName]:
        """Return the variables that set it for a service, the strongest last; the last one is our own."""
        return [*(other for other in self.others if service in other.services), OtherName(self.variable)]

    def show(self, value: object) -> str:
        """Return the value as an operator would write it; a secret only says whether it is set."""
        shown = self.kind.show(value)
        return ("***" if shown else "") if self.secret else shown


def setting(
    kind: Kind[T],
    default: str,
    sentence: str,
    *names: str | OtherName,
    group: str,
    secret: bool = False,
    services: tuple[Service, ...] = EVERYWHERE,
    defaults: Mapping[Service, str] | None = None,
) -> T:
    """Declare a field of the table; `names` are other variables that set it, the strongest last."""
    others = tuple(OtherName(name) if isinstance(name, str) else name for name in names)
    line = {"kind": kind, "default": default, "sentence": sentence, "others": others, "group": group, "secret": secret}
    line |= {"services": services, "defaults": defaults or {}}
    value = kind.from_text(default, Path())
    declared: Any = field(default_factory=lambda: value, metadata={"entry": line})
    result: T = declared
    return result


def platform(*names: str) -> tuple[str, ...]:
    """Return the names that oCIS and OpenCloud give to what all of their services share, the strongest last."""
    return tuple(f"{prefix}_{name}" for prefix in ("OCIS", "OC") for name in names)


def own(name: str) -> tuple[str, ...]:
    """Return the names that the Go services give to what each of them has, the strongest last."""
    return tuple(f"{prefix}_{name}" for prefix in ("STORAGE_USERS", "ANTIVIRUS", "POSTPROCESSING"))


def everywhere(name: str) -> tuple[str, ...]:
    """Return the names of what may be said for all services, and for each."""
    return (*platform(name), *own(name))


def entries(table: type[Any]) -> Mapping[str, Entry]:
    """Return the lines of a table by their name, in order."""
    found = [Entry(attribute=each.name, **each.metadata["entry"]) for each in fields(table) if "entry" in each.metadata]
    return {entry.name: entry for entry in found}
