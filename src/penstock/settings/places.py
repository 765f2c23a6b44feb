"""The kinds of settings that say where something is: paths and addresses."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from .kinds import Kind, Several, Words, texts

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
class File(Kind[Path | None]):
    """The path of a file that there may be; empty means "none"."""

    form: str = "path"
    empty_is_value: bool = True

    def from_text(self, text: str, folder: Path) -> Path | None:
        """Take a path, absolute, from `~`, or from `folder`."""
        return _path(text.strip(), folder) if text.strip() else None

    def show(self, value: Path | None) -> str:
        """Return the path."""
        return "" if value is None else str(value)


@dataclass(frozen=True)
class Paths(Several[Path]):
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


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def from_here(self) -> Address:
        """Where to reach, from this machine, a server that listens there: it may stand for all addresses."""
        try:
            address = ip_address(self.host)
        except ValueError:
            return self
        if not address.is_unspecified:
            return self
        return self._replace(host="127.0.0.1" if address.version == 4 else "::1")


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
        if not _is_port(port):
            raise ValueError("the part after the last colon is not a port. Write a number from 1 to 65535 there.")
        return Address(bare or "0.0.0.0", int(port))  # noqa: S104  what Go listens on for an empty host


@dataclass(frozen=True)
class MaybeListen(Kind[Address | None]):
    """A host and a port to listen on; an empty default means "nowhere"."""

    form: str = "host:port"

    def from_text(self, text: str, folder: Path) -> Address | None:
        """Take what `Listen` takes, or nothing."""
        return Listen().from_text(text, folder) if text.strip() else None

    def show(self, value: Address | None) -> str:
        """Return the address."""
        return "" if value is None else str(value)


@dataclass(frozen=True)
class Servers(Several[str]):
    """One or more servers to connect to."""

    form: str = "list of host:port, separated by commas"
    schemes: tuple[str, ...] = ()
    """What may come before `://`; empty: any."""

    def from_text(self, text: str, folder: Path) -> tuple[str, ...]:
        """Take `host`, `host:port`, and both with `scheme://` before and a path after them; keep them as written."""
        servers = Words().from_text(text, folder)
        if not servers:
            raise ValueError("there is no server in it. Write host:port.")
        for server in servers:
            self._check(server)
        return servers

    def show(self, value: Sequence[str]) -> str:
        """Return them with commas, without what may be passwords in them."""
        return ",".join(map(_without_user, value))

    def _check(self, server: str) -> None:
        scheme, mark, rest = server.rpartition("://")
        shown = _without_user(server)
        if mark and self.schemes and scheme not in self.schemes:
            raise ValueError(f"{shown!r} begins with {scheme}://. Write host:port, or {self.schemes[0]}://host:port.")
        host, colon, port = rest.partition("/")[0].rpartition("@")[2].rpartition(":")
        if colon and not host.startswith("[") and ":" in host:
            raise ValueError(f"{shown!r} has too many colons. Write an IPv6 address in brackets: [::1]:4222.")
        if (colon and port.endswith("]")) or not colon:
            host, port = (f"{host}{colon}{port}", "1")
        if not host or any(mark.isspace() for mark in server):
            raise ValueError(f"{shown!r} is not a server. Write host:port.")
        if not _is_port(port):
            raise ValueError(f"{shown!r} does not end in a port. Write a number from 1 to 65535 after the last colon.")


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
        return _without_user(value or "")


@dataclass(frozen=True)
class Webhook(Kind[str | None]):
    """An address that something is posted to, taken as it is; empty means "not set"."""

    form: str = "URL"
    empty_is_value: bool = True

    def from_text(self, text: str, folder: Path) -> str | None:
        """Take an http or https URL."""
        del folder
        url = text.strip()
        if url and not _is_web_address(url.partition("?")[0]):
            raise ValueError("not a web address. Write it like https://chat.example.org/hooks/abc.")
        return url or None

    def show(self, value: str | None) -> str:
        """Return the URL."""
        return value or ""


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        return False
    extra = parts.query or parts.fragment
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and port_is_fine and not extra


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= 65535


def _without_user(address: str) -> str:
    """Return an address with stars for the user and password in it."""
    scheme, mark, rest = address.rpartition("://")
    _, at, server = rest.rpartition("@")
    return f"{scheme}{mark}***@{server}" if at else address


def _path(text: str, folder: Path) -> Path:
    try:
        return folder / Path(text).expanduser()
    except RuntimeError:
        raise ValueError("there is no such home folder. Write the whole path.") from None
