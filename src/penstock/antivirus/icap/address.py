"""Where an ICAP service is, as operators write it."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from ...errors import ConfigurationError

_PORTS = {"icap": 1344, "icaps": 11344}
"""RFC 3507, section 4.2, and what its successors in practice use with TLS."""


class Address(msgspec.Struct, frozen=True):
    """A service on an ICAP server."""

    host: str
    port: int
    service: str
    """The path, without a slash in front."""
    tls: bool = False

    @property
    def authority(self) -> str:
        """Return `host:port`, as it stands in a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{'icaps' if self.tls else 'icap'}://{self.authority}/{self.service}"


def parse_address(url: str, service: str = "") -> Address:
    """Read `icap://host`, `icap://host:port/service` or the same with `icaps://`.

    Args:
        url: the server; a path in it is the service.
        service: the service, where the URL has no path.

    Raises:
        ConfigurationError: it is no such URL.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    path = (parts.path.strip("/") or service.strip().strip("/")).strip()
    wrong = bool(parts.username or parts.query or parts.fragment or any(not "!" <= mark <= "~" for mark in path))
    if parts.scheme not in _PORTS or not parts.hostname or wrong:
        raise ConfigurationError(
            f"{url!r} with the service {service!r} is not an address of an ICAP service. Write icap://host:port, such "
            "as icap://127.0.0.1:1344, or icaps://host:port for TLS, and the name of the service, such as avscan."
        )
    return Address(parts.hostname, port or _PORTS[parts.scheme], path, tls=parts.scheme == "icaps")
