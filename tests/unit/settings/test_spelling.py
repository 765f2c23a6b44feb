from __future__ import annotations

from pathlib import Path

import pytest

from penstock.settings.spelling import unknown_keys, unknown_variables
from penstock.settings.table import table

PATH = Path("/etc/penstock.toml")


def check(**environ: str) -> tuple[list[str], list[str]]:
    return unknown_variables(environ, table(), {"PENSTOCK_CONFIG"})


def test_a_name_of_ours_that_does_not_exist_is_wrong() -> None:
    wrong, suspicious = check(PENSTOCK_STEP="x", PENSTOCK_QQQQ="x", PENSTOCK_CONFIG="x", PENSTOCK_STEPS="x")
    assert wrong == [
        "PENSTOCK_QQQQ (environment): there is no such setting. `penstock config` lists all there are.",
        "PENSTOCK_STEP (environment): there is no such setting. Did you mean PENSTOCK_STEPS?",
    ]
    assert suspicious == []


def test_kubernetes_puts_names_of_a_service_called_penstock_into_pods() -> None:
    assert check(
        PENSTOCK_SERVICE_HOST="10.0.0.1",
        PENSTOCK_SERVICE_PORT="8080",
        PENSTOCK_SERVICE_PORT_HTTP="8080",
        PENSTOCK_PORT="tcp://10.0.0.1:8080",
        PENSTOCK_PORT_8080_TCP="tcp://10.0.0.1:8080",
        PENSTOCK_PORT_8080_TCP_PROTO="tcp",
        PENSTOCK_PORT_8080_TCP_PORT="8080",
        PENSTOCK_PORT_8080_TCP_ADDR="10.0.0.1",
        PENSTOCK_WEB_SERVICE_HOST="10.0.0.2",
        PENSTOCK_WEB_PORT="tcp://10.0.0.2:80",
        PENSTOCK_WEB_PORT_80_TCP_ADDR="10.0.0.2",
    ) == ([], [])


def test_a_port_that_a_person_wrote_is_not_taken_for_one_of_kubernetes() -> None:
    assert check(PENSTOCK_PORT="8080")[0]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("POSTPROCESSING_STPES", "POSTPROCESSING_STEPS"),
        ("POSTPROCESSING_MAX_RETRYS", "POSTPROCESSING_MAX_RETRIES"),
        ("ANTIVIRUS_CLAMAV_SOKCET", "ANTIVIRUS_CLAMAV_SOCKET"),
        ("OCIS_PERSISTANT_STORE", "OCIS_PERSISTENT_STORE"),
        ("OC_EVENT_ENDPOINT", "OC_EVENTS_ENDPOINT"),
        ("STORAGE_USERS_EVENTS_CLUSTRE", "STORAGE_USERS_EVENTS_CLUSTER"),
    ],
)
def test_a_slip_in_a_name_of_the_go_services_is_worth_a_word(name: str, meant: str) -> None:
    assert check(**{name: "x"}) == (
        [],
        [f"{name} (environment) is not known here and does nothing. Did you mean {meant}?"],
    )


THEIRS = [
    "POSTPROCESSING_EVENTS_ENDPOINT",
    "POSTPROCESSING_EVENTS_CLUSTER",
    "POSTPROCESSING_EVENTS_TLS_INSECURE",
    "POSTPROCESSING_LOG_COLOR",
    "POSTPROCESSING_LOG_FILE",
    "POSTPROCESSING_TRACING_ENABLED",
    "POSTPROCESSING_DEBUG_ADDR",
    "POSTPROCESSING_STORE_NODES",
    "POSTPROCESSING_STORE_DATABASE",
    "POSTPROCESSING_STORE_TABLE",
    "POSTPROCESSING_STORE_TTL",
    "POSTPROCESSING_STORE_SIZE",
    "ANTIVIRUS_EVENTS_ENDPOINT",
    "ANTIVIRUS_ICAP_URL",
    "ANTIVIRUS_ICAP_SERVICE",
    "ANTIVIRUS_ICAP_SCAN_TIMEOUT",
    "ANTIVIRUS_ICAP_TIMEOUT",
    "ANTIVIRUS_DEBUG_ADDR",
    "ANTIVIRUS_DEBUG_SCAN_OUTCOME",
    "ANTIVIRUS_LOG_LEVEL",
    "ANTIVIRUS_LOG_PRETTY",
    "OCIS_URL",
    "OC_URL",
    "OCIS_INSECURE",
    "OCIS_LDAP_INSECURE",
    "OCIS_CACHE_STORE",
    "OCIS_CACHE_STORE_TTL",
    "OCIS_CACHE_AUTH_USERNAME",
    "OC_CACHE_TLS_ROOT_CA_CERTIFICATE",
    "STORAGE_SYSTEM_EVENTS_ENDPOINT",
    "STORAGE_USERS_DEBUG_ADDR",
    "STORAGE_USERS_TRANSFER_EXPIRES",
]


def test_other_names_of_the_go_services_are_left_in_peace() -> None:
    assert check(**dict.fromkeys(THEIRS, "x")) == ([], [])


def test_keys_of_the_file() -> None:
    assert unknown_keys(["steps", "stepps", "zzzz"], table(), PATH) == [
        "stepps (/etc/penstock.toml): there is no such setting. Did you mean steps?",
        "zzzz (/etc/penstock.toml): there is no such setting. `penstock config` lists all there are.",
    ]
