"""Where a Redis is, as `POSTPROCESSING_STORE_NODES` says it for the Go services."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from ...errors import ConfigurationError
from ..target import without_login

if TYPE_CHECKING:
    from collections.abc import Iterable

_SERVER_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_TLS: Final = {"redis": False, "rediss": True}
_TUNING: Final = frozenset(
    (
        *("client_name", "conn_max_idle_time", "conn_max_lifetime", "dial_timeout", "idle_check_frequency"),
        *("idle_timeout", "max_conn_age", "max_idle_conns", "max_retries", "max_retry_backoff", "min_idle_conns"),
        *("min_retry_backoff", "pool_fifo", "pool_size", "pool_timeout", "protocol", "read_timeout", "write_timeout"),
    )
)
"""Options of the Go client's URLs that say how it goes about its work, not where the server is: not for us."""


@dataclass(frozen=True, slots=True)
class Address:
    """One server.

    Attributes:
        host: name or IP address.
        port: TCP port.
        db: number of the database.
        username: who logs in; empty for nobody, or for the default user with a password.
        password: never logged, never in a message.
        tls: whether the connection is encrypted.
        verify: whether the server has to prove with a certificate that it is `host`.
        ca_file: the only authorities to believe; None for those of the system.
    """

    host: str
    port: int
    db: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    verify: bool = True
    ca_file: Path | None = None

    @property
    def name(self) -> str:
        """`host:port`, for messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def server(nodes: Iterable[str]) -> Address:
    """Return the server that `redis` uses: `host`, `host:port`, or a `redis://` or `rediss://` URL.

    A URL may hold a user, a password and the number of a database: `rediss://user:password@host:6379/1`.

    Raises:
        ConfigurationError: it is not one server, or not spelled like that.
    """
    given = list(nodes)
    if len(given) != 1:
        raise ConfigurationError(
            f"the store redis takes one node and got {len(given)}. Set POSTPROCESSING_STORE_NODES to host:port, or to "
            "redis://user:password@host:port/db. For a master with replicas use the store redis-sentinel."
        )
    return _parse(given[0], given[0], _SERVER_PORT)


def sentinels(nodes: Iterable[str]) -> tuple[str, list[Address]]:
    """Return the name of the master and the sentinels to ask for it, from nodes such as `10.10.0.200:26379/mymaster`.

    Raises:
        ConfigurationError: there is none, one names no master or another one than the first, or is spelled otherwise.
    """
    masters: dict[str, None] = {}
    found = []
    for node in nodes:
        address, _, master = node.rpartition("/")
        if not address or address.endswith("/") or not master:
            raise ConfigurationError(
                f"the node {without_login(node)!r} of the store redis-sentinel does not name the master. "
                "Write it as <sentinel-host>:<sentinel-port>/<master>, such as 10.10.0.200:26379/mymaster."
            )
        masters[master] = None
        found.append(_parse(address, node, _SENTINEL_PORT))
    if len(masters) != 1:
        raise ConfigurationError(
            f"the nodes of the store redis-sentinel name {', '.join(masters) or 'no'} as the master, and it has to be "
            "one. Set POSTPROCESSING_STORE_NODES to <sentinel-host>:<sentinel-port>/<master>,…"
        )
    return next(iter(masters)), found


def _parse(text: str, node: str, default_port: int) -> Address:
    try:
        url = urlsplit(text if "://" in text else f"redis://{text}")
        options = dict(parse_qsl(url.query, strict_parsing=bool(url.query)))
        db = options.pop("db", "") or url.path.strip("/") or "0"
        verify = options.pop("skip_verify", "false").lower() not in ("true", "1")
        _refuse_odd(url, set(options) - _TUNING)
        return Address(
            host=url.hostname or "",
            port=default_port if url.port is None else url.port,
            db=int(db),
            username=unquote(url.username or ""),
            password=unquote(url.password or ""),
            tls=_TLS[url.scheme],
            verify=verify,
        )
    except ValueError as error:
        why = str(error) if "@" not in node else "odd characters of a user or password are written as %2F"
        raise ConfigurationError(
            f"{without_login(node)!r} is no node of a Redis ({why}). Write host:port, or redis://host:port."
        ) from None  # the cause may name a part of the password


def _refuse_odd(url: SplitResult, unknown: set[str]) -> None:
    if url.scheme not in _TLS:
        raise ValueError(f"the scheme is {url.scheme!r}, not redis or rediss")
    if not url.hostname:
        raise ValueError("no host")
    if unknown:
        raise ValueError(f"unknown options: {', '.join(sorted(unknown))}")
