"""Where clamd listens, as operators write it."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from ...errors import ConfigurationError


class UnixAddress(msgspec.Struct, frozen=True):
    """A unix socket on this machine."""

    path: str

    def __str__(self) -> str:
        return f"unix://{self.path}"


class TcpAddress(msgspec.Struct, frozen=True):
    """A port of this or another machine. clamd's protocol has no encryption and no password."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"


Address = UnixAddress | TcpAddress


def parse_address(text: str) -> Address:
    """Read `/path/to/clamd.ctl`, `unix:///path/to/clamd.ctl` or `tcp://host:port`.

    Raises:
        ConfigurationError: it is none of these.
    """
    if text.startswith("/"):
        return UnixAddress(text)
    scheme, _, rest = text.partition("://")
    if scheme == "unix" and rest:
        return UnixAddress(rest)
    if scheme == "tcp":
        host, port = _host_and_port(text)
        if host and port:
            return TcpAddress(host, port)
    raise ConfigurationError(
        f"{text!r} is not an address of clamd. Write the path of its socket, such as /run/clamav/clamd.ctl, "
        "or tcp://host:port, such as tcp://127.0.0.1:3310."
    )


def _host_and_port(url: str) -> tuple[str | None, int | None]:
    try:
        parts = urlsplit(url)
        if parts.path or parts.query or parts.fragment or parts.username is not None:
            return None, None
        return parts.hostname, parts.port
    except ValueError:
        return None, None
