"""What the settings say about traces, and what is missing in them."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from structlog.testing import capture_logs

from penstock.app.tracing import tracing_of
from penstock.errors import ConfigurationError
from penstock.settings import Settings, load_settings
from penstock.tracing import UNTRACED
from tests.servers.collector import http_collector

COLLECTOR = "http://127.0.0.1:4318"


def settings(**values: str) -> Settings:
    return load_settings(environ={f"PENSTOCK_TRACING_{name.upper()}": value for name, value in values.items()})


async def test_without_being_asked_for_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "penstock.tracing.otlp", None)  # it need not be there
    async with tracing_of(settings(collector=COLLECTOR), "serve") as tracing:
        assert tracing is UNTRACED


async def test_traces_go_to_the_collector() -> None:
    with http_collector() as collector:
        chosen = settings(enabled="true", collector=collector.url)
        async with tracing_of(chosen, "serve") as tracing:
            with tracing.span("work"):
                pass
        assert [(span.service, span.name) for span in collector.spans] == [("penstock-serve", "work")]


def test_it_has_to_be_said_where_they_go() -> None:
    with pytest.raises(ConfigurationError) as caught:
        tracing_of(settings(enabled="true"), "serve")
    message = str(caught.value)
    assert message.startswith("tracing_enabled=true (environment: PENSTOCK_TRACING_ENABLED): ")
    assert "Set tracing_endpoint" in message
    assert "tracing_collector" in message


@pytest.mark.parametrize("values", [{"endpoint": "127.0.0.1:4317"}, {"collector": COLLECTOR}])
@pytest.mark.parametrize("missing", ["opentelemetry.sdk.resources", "opentelemetry.exporter"])
def test_what_sends_them_has_to_be_installed(
    values: dict[str, str], missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _take_away(missing, monkeypatch)
    with pytest.raises(ConfigurationError) as caught:
        tracing_of(settings(enabled="true", **values), "serve")
    assert f"needs the module '{missing}" in str(caught.value)
    assert "pip install 'penstock[tracing]'" in str(caught.value)


def _take_away(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a module, and what is in it, be not installed."""
    ours = [name for name in sys.modules if name == "penstock.tracing.otlp" or name.startswith(module)]
    for name in ours:
        monkeypatch.delitem(sys.modules, name)

    class Missing:
        def find_spec(self, name: str, *args: Any) -> None:
            if name.startswith(module):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])


@pytest.mark.parametrize("endpoint", ["collector", "collector:", "127.0.0.1:99999", "ftp://c:4317", "http://c:4317/v1"])
def test_an_endpoint_has_a_host_and_a_port(endpoint: str) -> None:
    with pytest.raises(ConfigurationError, match=r"not a host and a port. Write it like 127\.0\.0\.1:4317"):
        tracing_of(settings(enabled="true", endpoint=endpoint), "serve")


@pytest.mark.parametrize("endpoint", ["127.0.0.1:4317", "[::1]:4317", "http://localhost:4317", "https://c:4317/"])
def test_endpoints_that_are_fine(endpoint: str) -> None:
    assert tracing_of(settings(enabled="true", endpoint=endpoint), "serve") is not None


def test_the_address_that_the_go_services_sent_to_is_told_of() -> None:
    with capture_logs() as logs:
        tracing_of(settings(enabled="true", type="jaeger", collector="http://127.0.0.1:14268/api/traces"), "serve")
    assert [log["event"] for log in logs] == ["tracing_collector_takes_no_otlp"]
