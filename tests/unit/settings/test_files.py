from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from penstock.settings import Service, Settings, WrongSettings, load_settings

POSTPROCESSING = """\
loglevel: info
debug:
  addr: 127.0.0.1:9999
  token: ${DEBUG_TOKEN}
  pprof: true
postprocessing:
  events:
    endpoint: ${NATS | 127.0.0.1:9233},b:1
    enable_tls: true
    username: me
    password: "0123"
  workers: 5
  steps:
    - virusscan
    - ocr
  delayprocessing: 0
  retry_backoff_duration: 2s
  max_retries: ~
store:
  store: redis-sentinel
  nodes: [10.10.0.200:26379/mymaster]
  ttl: 336h
"""
ANTIVIRUS = """\
log:
  level: warn
events:
  endpoint: a:1
infected-file-handling: abort
max-scan-size: 100MB
scanner:
  type: clamav
  clamav:
    socket: tcp://127.0.0.1:3310
    scan_timeout: 5m
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "postprocessing.yaml").write_text(POSTPROCESSING)
    (tmp_path / "antivirus.yaml").write_text(ANTIVIRUS)
    return tmp_path


def loaded(folder: Path, service: Service = Service.POSTPROCESSING, **environ: str) -> Settings:
    return load_settings(environ={"OC_CONFIG_DIR": str(folder), **environ}, folder=folder, service=service)


def problems(folder: Path, content: bytes) -> tuple[str, ...]:
    (folder / "postprocessing.yaml").write_bytes(content)
    with pytest.raises(WrongSettings) as caught:
        loaded(folder)
    return caught.value.problems


def test_the_file_of_the_coordinator_is_read_in_the_structure_of_the_go_service(folder: Path) -> None:
    settings = loaded(folder, DEBUG_TOKEN="s3cret")
    assert settings.log_level == "info"
    assert (str(settings.debug_addr), settings.debug_token) == ("127.0.0.1:9999", "s3cret")
    assert settings.events_endpoint == ("127.0.0.1:9233", "b:1")
    assert (settings.events_enable_tls, settings.events_auth_username) == (True, "me")
    assert settings.events_auth_password == "0123"
    assert (settings.workers, settings.max_retries) == (5, 14)
    assert settings.steps == ("virusscan", "ocr")
    assert (settings.delay, settings.retry_backoff) == (timedelta(0), timedelta(seconds=2))
    assert (settings.store, settings.store_ttl) == ("redis-sentinel", timedelta(hours=336))
    assert settings.store_nodes == ("10.10.0.200:26379/mymaster",)
    path = folder / "postprocessing.yaml"
    assert str(settings.origins["store_nodes"]) == f"{path}: store.nodes"
    assert settings.warnings == (
        (
            f"debug.pprof ({path}) opens a view into the Go runtime, which is not here. "
            "`/metrics` and traces show what goes on."
        ),
    )


def test_the_file_of_the_scanner_is_read_in_the_structure_of_the_go_service(folder: Path) -> None:
    settings = loaded(folder, Service.ANTIVIRUS)
    assert (settings.log_level, settings.events_endpoint) == ("warning", ("a:1",))
    assert settings.antivirus_infected_file_handling == "abort"
    assert settings.antivirus_max_scan_size_bytes == 100_000_000
    assert settings.antivirus_clamav_socket == ("tcp://127.0.0.1:3310",)
    assert settings.antivirus_scan_timeout == timedelta(minutes=5)
    assert settings.warnings == ()


def test_whatever_else_says_something_is_stronger(folder: Path) -> None:
    (folder / "penstock.toml").write_text("workers = 6\n[postprocessing]\nstore_ttl = '1h'\n")
    settings = loaded(folder, OCIS_PERSISTENT_STORE="redis", POSTPROCESSING_STEPS="")
    assert (settings.workers, settings.store_ttl) == (6, timedelta(hours=1))
    assert (settings.store, settings.steps) == ("redis", ())


def test_the_variable_of_opencloud_names_the_folder_before_that_of_ocis(folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    (other / "postprocessing.yaml").write_text("postprocessing: {workers: 9}\n")
    assert loaded(folder, OCIS_CONFIG_DIR=str(other)).workers == 5
    assert load_settings(environ={"OCIS_CONFIG_DIR": "other"}, folder=folder, service="postprocessing").workers == 9


def test_only_the_services_that_have_such_a_file_read_one(folder: Path) -> None:
    (folder / "serve.yaml").write_text("postprocessing: {workers: 9}\n")
    for service in (Service.SERVE, Service.STEP):
        assert str(loaded(folder, service).origins["log_level"]) == "default"
    assert loaded(folder / "empty").workers == 64


def test_what_is_not_known_is_told_with_what_it_looks_like(folder: Path) -> None:
    (folder / "postprocessing.yaml").write_text("store: {nods: x}\npostprocessing: {virusscan: true}\nzzz: 1\n")
    path = folder / "postprocessing.yaml"
    settings = loaded(folder)
    assert settings.steps == ("virusscan",)
    assert settings.warnings == (
        f"store.nods ({path}) is not known here and does nothing. Did you mean store.nodes?",
        f"zzz ({path}) is not known here and does nothing.",
        (
            f"postprocessing.virusscan ({path}) is deprecated. "
            "List virusscan in POSTPROCESSING_STEPS, or leave it out there."
        ),
    )


def test_what_is_wrong_in_it_is_a_problem(folder: Path) -> None:
    path = folder / "postprocessing.yaml"
    assert problems(folder, b"postprocessing: {delayprocessing: 5, events: {endpoint: 'nats://u:xyzzy@a:x'}}\n") == (
        (
            f"postprocessing.events.endpoint: nats://***@a:x ({path}): 'nats://***@a:x' does not end in a port. "
            "Write a number from 1 to 65535 after the last colon."
        ),
        (
            f"postprocessing.delayprocessing: 5 ({path}): a number without a unit. "
            "Write a number with a unit, such as 5s or 1m30s."
        ),
    )
    assert problems(folder, b"a: [")[0].startswith(f"{path}: not YAML: ")
    assert problems(folder, b"a: \xff\xfe")[0].startswith(f"{path}: not YAML: ")
    path.unlink()
    path.mkdir()
    with pytest.raises(WrongSettings, match=r"cannot be read: Is a directory"):
        loaded(folder)


@pytest.mark.parametrize("content", ["", "# nothing\n", "[]\n", "just text\n", "store: {}\n"])
def test_a_file_that_says_nothing_changes_nothing(folder: Path, content: str) -> None:
    (folder / "postprocessing.yaml").write_text(content)
    assert {str(origin) for origin in loaded(folder).origins.values()} == {"default"}
