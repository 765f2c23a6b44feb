"""The kinds of settings that say where something is: paths and addresses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from .kinds import Kind, Words, texts

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Folder(Kind[Path]):
    """The path of a folder or file."""

    form: str = "path"

    def from_text(self, text: str, folder: Path) -> Path:
        """Take a path, absolute, from `~`, or from `folder`."""
        return _path(text.strip(), folder)


@dataclass(frozen=True)
class Paths(Kind[tuple[Path, ...]]):
    """A list of paths, in order."""

    form: str = "list of paths, separated by commas"
    empty_is_value: bool = True

    def from_text(self, text: str, folder: Path) -> tuple[Path, ...]:
        """Split at commas."""
        return tuple(_path(part, folder) for part in Words().from_text(text, folder))

    def from_toml(self, value: object, folder: Path) -> tuple[Path, ...]:
        """Take an array of texts too."""
        if isinstance(value, list):
            return tuple(_path(text, folder) for text in texts(value))
        return super().from_toml(value, folder)

    def show(self, value: Sequence[Path]) -> str:
        """Return the paths with commas."""
        return ",".join(map(str, value))


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Listen(Kind[Address]):
    """A host and a port to listen on."""

    form: str = "host:port"

    def from_text(self, text: str, folder: Path) -> Address:
        """Take `host:port`, `[IPv6]:port`, or `:port` for all interfaces."""
        del folder
        host, colon, port = text.strip().rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        if not colon or (":" in host and host != f"[{bare}]") or any(mark in bare for mark in "[]/ "):
            raise ValueError("not an address. Write host:port, such as 127.0.0.1:8080 or [::1]:8080.")
        if not (port.isascii() and port.isdigit() and len(port) < 6 and 1 <= int(port) <= 65535):
            raise ValueError("the part after the last colon is not a port. Write a number from 1 to 65535 there.")
        return Address(bare or "0.0.0.0", int(port))  # noqa: S104  what Go listens on for an empty host


@dataclass(frozen=True)
class WebAddress(Kind[str | None]):
    """The base of web addresses; empty means "not set"."""

    form: str = "URL"
    empty_is_value: bool = True

    def from_text(self, text: str, folder: Path) -> str | None:
        """Take an http or https URL, and drop a slash at its end."""
        del folder
        url = text.strip().rstrip("/")
        if url and not _is_web_address(url):
            raise ValueError("not a web address. Write it like https://uploads.example.org.")
        return url or None

    def show(self, value: str | None) -> str:
        """Return the URL without what may be a password in it."""
        if value is None or "@" not in value:
            return value or ""
        parts = urlsplit(value)
        return parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]).geturl()


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        return False
    extra = parts.query or parts.fragment
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and port_is_fine and not extra


def _path(text: str, folder: Path) -> Path:
    try:
        return folder / Path(text).expanduser()
    except RuntimeError:
        raise ValueError("there is no such home folder. Write the whole path.") from None
