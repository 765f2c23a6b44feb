"""Where the nodes of a cluster are, and what TLS is spoken with them."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, unquote, urlsplit

from ...errors import ConfigurationError
from ..target import without_login

if TYPE_CHECKING:
    from ..target import StoreTarget

_DEFAULT: Final = "127.0.0.1:2379"


def urls_of(target: StoreTarget) -> tuple[str, ...]:
    """Return the nodes as URLs, without a user and password in them.

    Raises:
        ConfigurationError: one is no address.
    """
    return tuple(_url(parts) for parts in _parts_of(target))


def login_of(target: StoreTarget) -> tuple[str, str]:
    """Return user and password: those of the settings, else those of the first node that names a user; empty for none.

    Raises:
        ConfigurationError: a node is no address.
    """
    if target.username:
        return target.username, target.password
    named = next((parts for parts in _parts_of(target) if parts.username), None)
    return ("", "") if named is None else (unquote(named.username or ""), unquote(named.password or ""))


def _parts_of(target: StoreTarget) -> list[SplitResult]:
    scheme = "https" if target.tls else "http"
    return [_split(node if "://" in node else f"{scheme}://{node}") for node in target.nodes or (_DEFAULT,)]


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and " " not in url and parts.port != 0:
            return parts
    except ValueError:
        pass
    raise ConfigurationError(
        f"store node {without_login(url)!r}: no address of an etcd. Write host:port, such as {_DEFAULT}."
    )


def _url(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"


def tls_of(target: StoreTarget) -> ssl.SSLContext | None:
    """Return what TLS is spoken with; None where no node asks for it.

    Raises:
        ConfigurationError: the file with the authorities cannot be read or holds no certificate.
    """
    if not any(url.startswith("https://") for url in urls_of(target)):
        return None
    try:
        context = ssl.create_default_context(cafile=target.tls_ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"store root certificates {target.tls_ca_file}: {error}. Name a readable PEM file with certificates."
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if target.tls_insecure and target.tls_ca_file is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
