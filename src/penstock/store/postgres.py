"""Records in a table of a PostgreSQL database, shared by any number of instances.

Needs PostgreSQL 12 or newer, a database, and a user who may create tables in it; the tables are made at the first
start. Leaves behind what `sql` says. Of several nodes, which are to be one primary and its standbys, the one that can
be written to is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

import structlog
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from ..db import Database, DatabaseUnavailable
from ..errors import ConfigurationError
from .base import StoreUnavailable
from .sql import SqlStore

if TYPE_CHECKING:
    from .target import StoreTarget

log = structlog.get_logger(__name__)

_DRIVER: Final = "postgresql"
_PORT: Final = "5432"


class PostgresStore(SqlStore):
    """A table in a database of its own connections.

    Args:
        target: the nodes are `host:port`, or one URL, whose parts count more than those of the target. `table` does
            not count: who wants several in one database, gives each user a schema of its own.
    """

    def __init__(self, target: StoreTarget) -> None:
        super().__init__(Database(url_of(target)))
        self._ttl = target.ttl

    async def __aenter__(self) -> Self:
        """Connect, and make the tables or bring them up to date.

        Raises:
            StoreUnavailable: no server answers.
            ConfigurationError: there is no such database, or the login is wrong.
        """
        if self._ttl is not None:
            log.warning("store_ttl_ignored", store="postgres", why="records stay until their uploads are done")
        try:
            await self._database.__aenter__()
        except DatabaseUnavailable as error:
            raise StoreUnavailable(str(error)) from error
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Write what was asked for so far, then disconnect."""
        await self._database.__aexit__(*exc_info)


def url_of(target: StoreTarget) -> URL:
    """Return where the database is.

    Raises:
        ConfigurationError: a node is neither `host:port` nor a URL, there are several URLs, or there is no such file
            with authorities.
    """
    nodes = target.nodes or ("127.0.0.1",)
    if "://" not in "".join(nodes):
        url = URL.create(_DRIVER, query=_hosts(nodes))
    elif len(nodes) == 1:
        url = _read(nodes[0])
    else:
        raise ConfigurationError(
            "store nodes: several, and a URL among them. Write each as host:port; options of libpq can be given in "
            "its environment variables, such as PGSSLMODE."
        )
    url = url.set(
        username=url.username or target.username or None,
        password=url.password or target.password or None,
        database=url.database or target.database,
    )
    return url if "sslmode" in url.query else url.update_query_dict(_tls(target))


def _hosts(nodes: tuple[str, ...]) -> dict[str, str]:
    """Return the nodes as options of libpq, which tries them in this order."""
    pairs = [_host_and_port(node) for node in nodes]
    return {"host": ",".join(host for host, _ in pairs), "port": ",".join(port for _, port in pairs)}


def _host_and_port(node: str) -> tuple[str, str]:
    host, colon, port = node.rpartition(":")
    if not colon or node.endswith("]"):  # the second is an address of IP version 6
        host, port = node, _PORT
    if not port.isdecimal() or not host:
        raise ConfigurationError(f"store node {node!r}: write host:port, such as db.example.test:5432")
    return host.removeprefix("[").removesuffix("]"), port


def _tls(target: StoreTarget) -> dict[str, str]:
    """Return the options of libpq; without any, it encrypts where the server can and believes everybody."""
    if not target.tls:
        return {}
    if target.tls_ca_file is None:
        return {"sslmode": "require"} if target.tls_insecure else {"sslmode": "verify-full", "sslrootcert": "system"}
    if not target.tls_ca_file.is_file():
        raise ConfigurationError(f"store root certificates {target.tls_ca_file}: there is no such file")
    return {"sslmode": "verify-full", "sslrootcert": str(target.tls_ca_file)}


def _read(node: str) -> URL:
    try:
        url = make_url(node)
    except (ArgumentError, ValueError):  # it may contain a password: neither it nor the error is shown
        url = None
    if url is None or url.get_backend_name() not in ("postgres", "postgresql"):
        raise ConfigurationError("store node: what is given is not a URL that begins with postgresql://")
    return url
