"""Where traces go, as the settings say."""

from __future__ import annotations

from contextlib import nullcontext
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import structlog

from .. import __version__
from ..errors import ConfigurationError
from ..tracing import UNTRACED, Tracing

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from ..settings import Settings

log = structlog.get_logger(__name__)

_THRIFT: Final = "/api/traces"
"""Where Jaeger takes what its old clients, and the Go services, send to a collector; it is not OTLP."""


def tracing_of(settings: Settings, service: str) -> AbstractAsyncContextManager[Tracing]:
    """Return the tracing of a service, not opened yet.

    Raises:
        ConfigurationError: traces are to be sent, but it is not said where to, or what sends them is not installed.
    """
    if not settings.tracing_enabled:
        return nullcontext(UNTRACED)
    origin = f"tracing_enabled=true ({settings.origins.get('tracing_enabled')})"
    endpoint, collector = settings.tracing_endpoint.strip(), settings.tracing_collector
    if not endpoint and not collector:
        raise ConfigurationError(
            f"{origin}: it is not said where traces go. Set tracing_endpoint to an address that takes OTLP by gRPC, "
            "such as 127.0.0.1:4317, or tracing_collector to a URL that takes it by HTTP, "
            "such as http://127.0.0.1:4318."
        )
    if endpoint:
        _check(endpoint, str(settings.origins.get("tracing_endpoint")))
    try:
        otlp: Any = import_module("penstock.tracing.otlp")
        exporter = otlp.grpc_exporter(endpoint) if endpoint else otlp.http_exporter(collector)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("penstock"):
            raise
        raise ConfigurationError(
            f"{origin} needs the module {error.name!r}, which is not installed. "
            "Install it with: pip install 'penstock[tracing]'"
        ) from error
    if not endpoint and urlsplit(collector or "").path == _THRIFT:
        hint = "this is where Jaeger takes Thrift; it takes OTLP by HTTP on port 4318, without a path"
        log.warning("tracing_collector_takes_no_otlp", hint=hint)
    tracing: AbstractAsyncContextManager[Tracing] = otlp.OtlpTracing(service, __version__, exporter)
    return tracing


def _check(endpoint: str, origin: str) -> None:
    """Refuse an address that has no port, or that we could not connect to.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        parts = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
        fine = parts.scheme in ("http", "https") and parts.hostname and parts.port and not parts.path.strip("/")
    except ValueError:
        fine = False
    if not fine:
        raise ConfigurationError(
            f"tracing_endpoint={endpoint} ({origin}): not a host and a port. Write it like 127.0.0.1:4317, "
            "or like https://traces.example.org:4317 for TLS."
        )
