"""Where the NATS servers are, and how to get in."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ..errors import ConfigurationError, Unavailable

DEFAULT_PORT: Final = 4222
"""Where a NATS server listens when the endpoint names no port, as for the Go services."""
_SCHEMES: Final = ("nats", "tls")


class NatsUnavailable(Unavailable):
    """No NATS server could be reached in time, or none answered."""

    code = "nats-unavailable"


@dataclass(frozen=True, slots=True)
class NatsServers:
    """One NATS server, or those of one cluster: whichever answers is used.

    Raises:
        ConfigurationError: there is no endpoint, or one is not an address.
    """

    endpoints: tuple[str, ...]
    """Each `host:port`, `host`, `nats://host:port` or `tls://host:port`."""
    username: str = ""
    """Used only together with a password, as the Go services do."""
    password: str = field(default="", repr=False)
    tls: bool = False
    """Encrypt (TLS 1.2 or newer), and never talk to a server that cannot. A server that insists on TLS gets it
    anyway; then its certificate must be known to the system."""
    tls_insecure: bool = False
    """Believe any certificate. Has no effect when `tls_ca_file` is given."""
    tls_ca_file: Path | None = None
    """PEM file with the only authorities to believe; None: those of the system."""
    setting: str = ""
    """The setting that names them, for messages: bus and store may each have a server of their own."""

    def __post_init__(self) -> None:
        """Look at every endpoint."""
        if not self.endpoints:
            raise ConfigurationError("no NATS endpoint is given. Name one, such as 127.0.0.1:9233.")
        for endpoint in self.endpoints:
            _url_of(endpoint)

    def __str__(self) -> str:
        places = ", ".join(_place(endpoint) for endpoint in self.endpoints)
        return f"{places} ({self.setting})" if self.setting else places

    @property
    def urls(self) -> tuple[str, ...]:
        """The endpoints as URLs."""
        return tuple(_url_of(endpoint) for endpoint in self.endpoints)

    @property
    def wants_tls(self) -> bool:
        """Whether a connection without TLS is refused."""
        return self.tls or any(url.startswith("tls://") for url in self.urls)

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return what TLS is spoken with; None when it is not asked for.

        Raises:
            ConfigurationError: `tls_ca_file` cannot be read or holds no certificate.
        """
        if not self.wants_tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.tls_ca_file)
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror if isinstance(error, FileNotFoundError | PermissionError) else error
            raise ConfigurationError(
                f"NATS at {self}: root certificates {self.tls_ca_file}: {reason}. Name a readable PEM file with "
                "certificates."
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.tls_insecure and self.tls_ca_file is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _url_of(endpoint: str) -> str:
    """Write an endpoint as a URL with a port.

    Raises:
        ConfigurationError: it is no address.
    """
    url = endpoint.strip()
    url = url if "://" in url else f"nats://{url}"
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORT
    except ValueError as error:
        raise _no_address(endpoint) from error
    if parts.scheme not in _SCHEMES or not parts.hostname or parts.path.strip("/"):
        raise _no_address(endpoint)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    credentials, at, _ = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{credentials}{at}{host}:{port}"


def _place(endpoint: str) -> str:
    """Return an endpoint for messages: without what may be a password."""
    return endpoint.strip().rpartition("@")[2].rpartition("://")[2]


def _no_address(endpoint: str) -> ConfigurationError:
    return ConfigurationError(
        f"NATS endpoint {_place(endpoint)!r}: not an address. Write host:port, such as 127.0.0.1:9233."
    )
