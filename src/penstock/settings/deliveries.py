"""Kinds of settings for the ways in which steps get the bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from .kinds import Kind, Words

if TYPE_CHECKING:
    from collections.abc import Mapping

_VOLUME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
DEFAULT_VOLUME: Final = "penstock"
ONE_TIME: Final = "one-time"
PUT, FORM, TUS = "put", "form", "tus"
_TO_A_WORKER: Final = ("push", "push-on-request")
_MANNERS: Final = (FORM, TUS)
"""In front of a worker's address, with a plus sign; none: `put`."""
_WAYS: Final = ("path", "presigned", "pull", *_TO_A_WORKER)


class Chosen(NamedTuple):
    """How one step gets the bytes."""

    way: str
    place: str = ""
    """The volume's name, the worker's address, or `one-time`; empty for ways that need none."""
    manner: str = ""
    """How a worker takes files: `put`, `form` or `tus`; empty for ways that send none."""

    def __str__(self) -> str:
        manner = f"{self.manner}+" if self.manner in _MANNERS else ""
        return f"{self.way}:{manner}{self.place}" if self.place else self.way


@dataclass(frozen=True)
class Deliveries(Kind["Mapping[str, Chosen]"]):
    """A way for each of some steps."""

    form: str = "list of step=way, such as `virusscan=path,ocr=push:https://worker.example.org/files`"
    empty_is_value: bool = True

    def from_text(self, text: str, folder: Path) -> Mapping[str, Chosen]:
        """Split at commas, then at the first equals sign."""
        return MappingProxyType(
            {step: _chosen(step, way) for step, way in _pairs(text, folder, "virusscan=path,ocr=pull").items()}
        )

    def from_toml(self, value: object, folder: Path) -> Mapping[str, Chosen]:
        """Take a table too."""
        if isinstance(value, dict):
            return MappingProxyType({step: _chosen(step, way) for step, way in value.items()})
        return super().from_toml(value, folder)

    def show(self, value: Mapping[str, Chosen]) -> str:
        """Return the pairs with commas."""
        return ",".join(f"{step}={way}" for step, way in value.items())


@dataclass(frozen=True)
class Volumes(Kind["Mapping[str, Path]"]):
    """A folder for each of some volumes."""

    form: str = "list of name=folder, such as `penstock=/mnt/penstock/blobs`"
    empty_is_value: bool = True

    def from_text(self, text: str, folder: Path) -> Mapping[str, Path]:
        """Split at commas, then at the first equals sign."""
        pairs = _pairs(text, folder, "penstock=/mnt/penstock/blobs")
        return MappingProxyType({_volume(name): folder / Path(path) for name, path in pairs.items()})

    def show(self, value: Mapping[str, Path]) -> str:
        """Return the pairs with commas."""
        return ",".join(f"{name}={path}" for name, path in value.items())


def _pairs(text: str, folder: Path, example: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in Words().from_text(text, folder):
        name, equals, rest = (piece.strip() for piece in part.partition("="))
        if not name or not equals or not rest:
            raise ValueError(f"{part!r} is not one name and what belongs to it. Write it like {example}.")
        if name in found:
            raise ValueError(f"{name!r} is listed twice.")
        found[name] = rest
    return found


def _chosen(step: str, written: object) -> Chosen:
    if not isinstance(written, str):
        raise ValueError(f"{step!r} must be text in quotes.")  # noqa: TRY004  one kind of error for all
    way, _, place = written.strip().partition(":")
    if way not in _WAYS:
        raise ValueError(f"{step!r}: {way!r} is no way of delivery. Write one of {', '.join(_WAYS)}.")
    if way == "path":
        return Chosen(way, _volume(place or DEFAULT_VOLUME))
    if way in _TO_A_WORKER:
        manner, plus, url = place.partition("+")
        if plus and manner in _MANNERS:
            return Chosen(way, _worker(step, way, url), manner)
        return Chosen(way, _worker(step, way, place).rstrip("/"), PUT)
    if way == "pull" and place == ONE_TIME:
        return Chosen(way, place)
    if place:
        more = f", or {step}={way}:{ONE_TIME}" if way == "pull" else ""
        raise ValueError(f"{step!r}: {way} takes nothing more; write {step}={way}{more}.")
    return Chosen(way)


def _volume(name: str) -> str:
    if not _VOLUME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the name of a volume. Use small letters, digits and -.")
    return name


def _worker(step: str, way: str, url: str) -> str:
    try:
        parts = urlsplit(url)
        fine = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
        fine = fine and "@" not in parts.netloc and not parts.query and not parts.fragment
    except ValueError:
        fine = False
    if not fine:
        raise ValueError(
            f"{step!r}: {way} needs the address of the worker, without user, query and fragment, such as "
            f"{way}:https://worker.example.org/files."
        )
    return url
