"""Where the nodes of a cluster are, and what TLS is spoken with them."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

from ...errors import ConfigurationError

if TYPE_CHECKING:
    from ..target import StoreTarget

_DEFAULT: Final = "127.0.0.1:2379"


def urls_of(target: StoreTarget) -> tuple[str, ...]:
    """Return the nodes as URLs; what is one already stays as it is."""
    scheme = "https" if target.tls else "http"
    return tuple(node if "://" in node else f"{scheme}://{node}" for node in target.nodes or (_DEFAULT,))


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
