from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import ConfigurationError
from penstock.settings import Service, Settings, WrongSettings, load_settings
from penstock.settings.entries import entries, setting
from penstock.settings.kinds import Text, Whole
from penstock.settings.load import read_table
from penstock.settings.origins import Origin
from penstock.settings.table import default_settings, table


def loaded(
    folder: Path, toml: str | None = None, *, overrides: Mapping[str, str] | None = None, **environ: str
) -> Settings:
    if toml is not None:
        (folder / "penstock.toml").write_text(toml)
    return load_settings(overrides=overrides, environ=environ, folder=folder)


def problems(
    folder: Path, toml: str | None = None, *, overrides: Mapping[str, str] | None = None, **environ: str
) -> tuple[str, ...]:
    with pytest.raises(WrongSettings) as caught:
        loaded(folder, toml, overrides=overrides, **environ)
    assert str(caught.value).splitlines() == list(caught.value.problems)
    return caught.value.problems


def test_with_nothing_said_everything_is_at_its_default(tmp_path: Path) -> None:
    settings = loaded(tmp_path)
    assert settings == Settings(data_dir=tmp_path / "penstock-data")
    assert {str(origin) for origin in settings.origins.values()} == {"default"}
    assert set(settings.origins) == set(table())
    assert settings.warnings == ()


def test_the_stronger_source_wins(tmp_path: Path) -> None:
    path = tmp_path / "penstock.toml"
    toml = 'max_retries = 1\nworkers = 1\nretry_backoff = "1s"\n'
    settings = loaded(tmp_path, toml, overrides={"max_retries": "3"}, PENSTOCK_MAX_RETRIES="2", PENSTOCK_WORKERS="2")
    assert (settings.max_retries, settings.workers, settings.retry_backoff) == (3, 2, timedelta(seconds=1))
    assert str(settings.origins["max_retries"]) == "command line: --max-retries"
    assert str(settings.origins["workers"]) == "environment: PENSTOCK_WORKERS"
    assert str(settings.origins["retry_backoff"]) == f"{path}: retry_backoff"


NAMES = ["OCIS_PERSISTENT_STORE", "OC_PERSISTENT_STORE", "POSTPROCESSING_STORE", "PENSTOCK_STORE"]


@given(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["memory", "sqlite", "noop"]), min_size=1))
def test_of_several_names_the_last_one_that_is_set_wins(environ: dict[str, str]) -> None:
    strongest = [name for name in NAMES if name in environ][-1]
    settings = load_settings(environ=environ, folder=Path("/nowhere"))
    assert settings.store == environ[strongest]
    assert settings.origins["store"].name == strongest


def test_an_empty_list_is_a_value_and_an_empty_number_is_none(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path, 'steps = ["ocr"]\nmax_retries = 3\n', POSTPROCESSING_STEPS="", POSTPROCESSING_MAX_RETRIES=""
    )
    assert settings.steps == ()
    assert settings.max_retries == 3
    assert str(settings.origins["max_retries"]).endswith("penstock.toml: max_retries")


def test_an_empty_name_still_hides_a_weaker_one(tmp_path: Path) -> None:
    assert loaded(tmp_path, OCIS_PERSISTENT_STORE="noop", POSTPROCESSING_STORE="").store == "sqlite"


def test_the_names_of_the_go_services_set_the_same(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        POSTPROCESSING_STEPS="virusscan,delay",
        POSTPROCESSING_DELAY="10s",
        POSTPROCESSING_RETRY_BACKOFF_DURATION="2s",
        POSTPROCESSING_MAX_RETRIES="5",
        POSTPROCESSING_WORKERS="7",
        POSTPROCESSING_STEP_TIMEOUT="virusscan=10m,ocr=2h",
        ANTIVIRUS_SCANNER_TYPE="clamav",
        ANTIVIRUS_CLAMAV_SOCKET="tcp://127.0.0.1:3310",
        ANTIVIRUS_INFECTED_FILE_HANDLING="abort",
        ANTIVIRUS_MAX_SCAN_SIZE="100MB",
        ANTIVIRUS_MAX_SCAN_SIZE_MODE="skip",
        ANTIVIRUS_CLAMAV_SCAN_TIMEOUT="5m",
        ANTIVIRUS_WORKERS="4",
        STORAGE_USERS_UPLOAD_EXPIRATION="3600",
        OCIS_LOG_LEVEL="panic",
        OC_LOG_LEVEL="warn",
        OCIS_LOG_PRETTY="true",
    )
    assert settings == Settings(
        data_dir=tmp_path / "penstock-data",
        steps=("virusscan", "delay"),
        delay=timedelta(seconds=10),
        retry_backoff=timedelta(seconds=2),
        max_retries=5,
        workers=7,
        step_timeout={"virusscan": timedelta(minutes=10), "ocr": timedelta(hours=2)},
        antivirus_scanner=("clamav",),
        antivirus_clamav_socket=("tcp://127.0.0.1:3310",),
        antivirus_infected_file_handling="abort",
        antivirus_max_scan_size_bytes=100_000_000,
        antivirus_max_scan_size_mode="skip",
        antivirus_scan_timeout=timedelta(minutes=5),
        antivirus_workers=4,
        upload_expiration=timedelta(hours=1),
        log_level="warning",
        log_format="text",
    )
    assert settings.warnings == ()


@pytest.mark.parametrize(
    ("environ", "steps"),
    [
        ({"POSTPROCESSING_VIRUSSCAN": "true"}, ("virusscan",)),
        ({"POSTPROCESSING_VIRUSSCAN": "false"}, ()),
        ({"POSTPROCESSING_VIRUSSCAN": "true", "POSTPROCESSING_STEPS": "ocr"}, ("ocr", "virusscan")),
        ({"POSTPROCESSING_VIRUSSCAN": "true", "POSTPROCESSING_STEPS": "virusscan,ocr"}, ("virusscan", "ocr")),
        ({"POSTPROCESSING_VIRUSSCAN": "false", "POSTPROCESSING_STEPS": "virusscan,ocr"}, ("ocr",)),
    ],
)
def test_the_oldest_way_to_choose_scanning_works_with_a_warning(
    tmp_path: Path, environ: dict[str, str], steps: tuple[str, ...]
) -> None:
    settings = load_settings(environ=environ, folder=tmp_path)
    assert settings.steps == steps
    assert settings.warnings == (
        "POSTPROCESSING_VIRUSSCAN is deprecated. List virusscan in POSTPROCESSING_STEPS, or leave it out there.",
    )


def test_all_that_is_wrong_is_told_a_line_each(tmp_path: Path) -> None:
    path = tmp_path / "penstock.toml"
    assert problems(
        tmp_path,
        'retention = 7\nstpes = ["virusscan"]\nantivirus_workers = 0\nlog_level = "loud"\n',
        overrides={"http_addr": "8080"},
        POSTPROCESSING_RETRY_BACKOFF_DURATION="5x",
        POSTPROCESSING_DELAY="5",
        PENSTOCK_STOR="sqlite",
    ) == (
        "--http-addr 8080 (command line): not an address. Write host:port, such as 127.0.0.1:8080 or [::1]:8080.",
        f'log_level = "loud" ({path}): unknown. Write one of debug, info, warning, error.',
        f"retention = 7 ({path}): a number without a unit. Write a number with a unit, such as 5s or 1m30s.",
        (
            "POSTPROCESSING_DELAY=5 (environment): a number without a unit. "
            "Write a number with a unit, such as 5s or 1m30s."
        ),
        (
            "POSTPROCESSING_RETRY_BACKOFF_DURATION=5x (environment): not a duration. "
            "Write a number with a unit, such as 5s or 1m30s."
        ),
        f"antivirus_workers = 0 ({path}): not a whole number from 1 to 1000.",
        f"stpes ({path}): there is no such setting. Did you mean steps?",
        "PENSTOCK_STOR (environment): there is no such setting. Did you mean PENSTOCK_STORE?",
    )


def test_wrong_settings_are_configuration_errors() -> None:
    assert issubclass(WrongSettings, ConfigurationError)


def test_the_file_is_the_one_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "penstock.toml").write_text("workers = 1\n")
    (tmp_path / "named.toml").write_text("workers = 2\n")
    (tmp_path / "chosen.toml").write_text("workers = 3\n")
    environ = {"PENSTOCK_CONFIG": "named.toml"}
    assert load_settings(environ={}, folder=tmp_path).workers == 1
    assert load_settings(environ=environ, folder=tmp_path).workers == 2
    assert load_settings(config=Path("chosen.toml"), environ=environ, folder=tmp_path).workers == 3


def test_paths_in_the_file_start_at_the_file(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "p.toml").write_text('data_dir = "data"\nantivirus_yara_rules = ["more"]\n')
    settings = load_settings(
        config=tmp_path / "etc" / "p.toml", environ={"PENSTOCK_STEP_FILES": "a.py"}, folder=tmp_path
    )
    assert settings.data_dir == tmp_path / "etc" / "data"
    assert settings.antivirus_yara_rules == (tmp_path / "etc" / "more",)
    assert settings.step_files == (tmp_path / "a.py",)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "cannot be read: No such file or directory"), (b"steps = [", "not TOML"), (b'x = "\xff"', "not TOML")],
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    path = tmp_path / "c.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WrongSettings) as caught:
        load_settings(config=path, environ={}, folder=tmp_path)
    assert str(caught.value).startswith(f"{path} (--config): {complaint}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WithSecret:
    password: str = setting(Text(), "", "A secret.", group="", secret=True)
    pin: int = setting(Whole(), "1", "Another.", group="", secret=True)
    origins: Mapping[str, Origin] | None = None
    warnings: tuple[str, ...] = ()


def test_a_secret_is_neither_shown_nor_told_in_an_error(tmp_path: Path) -> None:
    def read(**environ: str) -> Any:
        return read_table(WithSecret, config=None, overrides={}, environ=environ, folder=tmp_path)

    entry = entries(WithSecret)["password"]
    settings = read(PENSTOCK_PASSWORD="xyzzy")
    assert settings.password == "xyzzy"
    assert entry.show(settings.password) == "***"
    assert entry.show("") == ""
    with pytest.raises(WrongSettings) as caught:
        read(PENSTOCK_PIN="xyzzy")
    assert "xyzzy" not in str(caught.value)
    (tmp_path / "penstock.toml").write_text('pin = "xyzzy"\n')
    with pytest.raises(WrongSettings) as caught:
        read()
    assert "xyzzy" not in str(caught.value)
    assert str(caught.value).startswith('pin = "***" (')


class TestServices:
    def test_each_has_its_own_defaults(self, tmp_path: Path) -> None:
        def shown(service: Service, *names: str) -> list[str]:
            settings = load_settings(environ={}, folder=tmp_path, service=service)
            assert settings.service is service
            return [table()[name].show(getattr(settings, name)) for name in names]

        names = ("bus", "store", "steps", "debug_addr", "log_level")
        assert shown(Service.SERVE, *names[:3], "log_level") == ["local", "sqlite", "virusscan", "info"]
        assert shown(Service.POSTPROCESSING, *names) == ["nats", "nats-js-kv", "", "127.0.0.1:9255", "warning"]
        assert shown(Service.ANTIVIRUS, "antivirus_scanner", "debug_addr") == ["clamav", "127.0.0.1:9277"]
        assert shown(Service.STEP, "bus") == ["nats"]

    def test_the_defaults_as_a_whole_are_what_is_loaded_with_nothing_said(self, tmp_path: Path) -> None:
        for service in Service:
            loaded_ones = load_settings(environ={}, folder=tmp_path, service=service)
            assert replace(loaded_ones, data_dir=Path("penstock-data")) == default_settings(service)

    def test_a_variable_of_one_service_does_nothing_to_another(self, tmp_path: Path) -> None:
        environ = {
            "POSTPROCESSING_DEBUG_ADDR": ":1",
            "ANTIVIRUS_DEBUG_ADDR": ":2",
            "POSTPROCESSING_EVENTS_CLUSTER": "p",
            "ANTIVIRUS_EVENTS_CLUSTER": "a",
            "STORAGE_USERS_EVENTS_CLUSTER": "s",
        }
        found = {service: load_settings(environ=environ, folder=tmp_path, service=service.value) for service in Service}
        assert str(found[Service.POSTPROCESSING].debug_addr).endswith(":1")
        assert str(found[Service.ANTIVIRUS].debug_addr).endswith(":2")
        assert found[Service.POSTPROCESSING].events_cluster == "p"
        assert found[Service.ANTIVIRUS].events_cluster == "a"
        assert found[Service.SERVE].events_cluster == "p"
        assert found[Service.STEP].events_cluster == "opencloud-cluster"

    def test_what_a_service_does_not_have_is_not_even_looked_at(self, tmp_path: Path) -> None:
        settings = load_settings(
            environ={"POSTPROCESSING_DELAY": "5x", "PENSTOCK_MAX_RETRIES": "x"}, folder=tmp_path, service="antivirus"
        )
        assert str(settings.origins["delay"]) == "default"

    def test_a_table_of_the_file_is_for_one_service(self, tmp_path: Path) -> None:
        path = tmp_path / "penstock.toml"
        path.write_text('workers = 1\nlog_level = "info"\n[postprocessing]\nworkers = 2\n[serve]\nworkers = 3\n')
        settings = load_settings(environ={}, folder=tmp_path, service="postprocessing")
        assert (settings.workers, settings.log_level) == (2, "info")
        assert str(settings.origins["workers"]) == f"{path}: postprocessing.workers"
        assert load_settings(environ={}, folder=tmp_path).workers == 3

    def test_such_a_table_is_checked_whatever_is_run(self, tmp_path: Path) -> None:
        path = tmp_path / "penstock.toml"
        toml = "antivirus = 1\n[postprocessing]\nwokers = 2\n[serve]\nworkers = 0\n"
        assert problems(tmp_path, toml) == (
            f"antivirus ({path}): must be a table, [antivirus], with what is for it alone.",
            f"serve.workers = 0 ({path}): not a whole number from 1 to 1000.",
            f"postprocessing.wokers ({path}): there is no such setting. Did you mean workers?",
        )


class TestServersOfTheCaches:
    """The manual of oCIS tells operators to name the servers of the store in the variable for the caches."""

    def nodes(self, **environ: str) -> tuple[str, ...]:
        return load_settings(environ=environ, folder=Path("/nowhere"), service="postprocessing").store_nodes

    def test_they_are_those_of_the_store(self) -> None:
        environ = {"POSTPROCESSING_STORE": "redis-sentinel", "OCIS_CACHE_STORE_NODES": "10.10.0.200:26379/mymaster"}
        assert self.nodes(**environ) == ("10.10.0.200:26379/mymaster",)

    def test_not_where_the_caches_are_elsewhere(self) -> None:
        environ = {"OCIS_CACHE_STORE": "redis-sentinel", "OCIS_CACHE_STORE_NODES": "10.10.0.200:26379/mymaster"}
        assert self.nodes(**environ) == ("127.0.0.1:9233",)
        assert self.nodes(**environ, POSTPROCESSING_STORE="redis-sentinel") == ("10.10.0.200:26379/mymaster",)

    def test_the_name_for_the_store_is_stronger(self) -> None:
        assert self.nodes(OC_CACHE_STORE_NODES="a:1", OCIS_PERSISTENT_STORE_NODES="b:2, c:3") == ("b:2", "c:3")


def test_the_size_of_ocmem_is_read_as_the_go_service_read_it(tmp_path: Path) -> None:
    settings = loaded(tmp_path, OCIS_PERSISTENT_STORE_SIZE="7", POSTPROCESSING_STORE_SIZE="0")
    assert settings.store_size == 512
    assert settings.warnings == (
        (
            "POSTPROCESSING_STORE_SIZE is deprecated. "
            "Choose a store that does not forget, such as nats-js-kv, or set PENSTOCK_STORE_SIZE."
        ),
    )


def test_a_password_in_an_address_is_neither_shown_nor_told_in_an_error(tmp_path: Path) -> None:
    settings = loaded(tmp_path, OC_EVENTS_ENDPOINT="nats://me:xyzzy@a:1,b:2")
    assert settings.events_endpoint == ("nats://me:xyzzy@a:1", "b:2")
    assert table()["events_endpoint"].show(settings.events_endpoint) == "nats://***@a:1,b:2"
    assert problems(tmp_path, OC_EVENTS_ENDPOINT="nats://me:xyzzy@a:x") == (
        (
            "OC_EVENTS_ENDPOINT=nats://***@a:x (environment): "
            "'nats://***@a:x' does not end in a port. Write a number from 1 to 65535 after the last colon."
        ),
    )


@pytest.mark.parametrize("name", ["OCIS_ASYNC_UPLOADS", "OC_ASYNC_UPLOADS", "PENSTOCK_ASYNC_UPLOADS"])
def test_without_asynchronous_uploads_no_step_is_run(tmp_path: Path, name: str) -> None:
    environ = {name: "false", "POSTPROCESSING_STEPS": "virusscan,ocr", "POSTPROCESSING_DELAY": "5s"}
    settings = load_settings(environ=environ, folder=tmp_path)
    assert (settings.steps, settings.delay) == ((), timedelta(0))
    assert settings.origins["steps"].name == name
    assert settings.warnings == (
        f"async_uploads=false (environment: {name}): no step is run; files are released unscanned.",
    )


def test_the_oldest_name_for_asynchronous_uploads_works_with_a_warning(tmp_path: Path) -> None:
    settings = loaded(tmp_path, STORAGE_USERS_OCIS_ASYNC_UPLOADS="true", OC_ASYNC_UPLOADS="false")
    assert settings.steps == ("virusscan",)
    assert settings.warnings == (
        "STORAGE_USERS_OCIS_ASYNC_UPLOADS is deprecated. Set OCIS_ASYNC_UPLOADS or OC_ASYNC_UPLOADS.",
    )


def test_asynchronous_uploads_are_no_matter_of_the_coordinator(tmp_path: Path) -> None:
    environ = {"OC_ASYNC_UPLOADS": "false", "POSTPROCESSING_STEPS": "virusscan"}
    settings = load_settings(environ=environ, folder=tmp_path, service="postprocessing")
    assert settings.steps == ("virusscan",)
