from __future__ import annotations

import re
from dataclasses import FrozenInstanceError
from pathlib import Path
from types import MappingProxyType

import pytest

from penstock import backends
from penstock.antivirus.clamav.daemon import DEFAULT_LIMIT_BYTES
from penstock.settings import Service, Settings
from penstock.settings.entries import Entry
from penstock.settings.table import table

ENTRIES = list(table().values())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
class TestEachSetting:
    def test_its_default_is_what_the_field_has(self, entry: Entry) -> None:
        assert getattr(Settings(), entry.attribute) == entry.kind.from_text(entry.default, Path())

    def test_its_default_is_written_as_it_is_shown(self, entry: Entry) -> None:
        assert entry.kind.show(getattr(Settings(), entry.attribute)) == entry.default

    def test_it_is_explained_in_sentences(self, entry: Entry) -> None:
        assert re.fullmatch(r"[A-Z`].*[.]", entry.sentence) or entry.sentence.startswith("clamd")

    def test_other_names_are_in_the_order_of_the_go_services(self, entry: Entry) -> None:
        ranks = [
            ["OCIS", "OC"].index(prefix) if (prefix := other.variable.split("_")[0]) in {"OCIS", "OC"} else 2
            for other in entry.others
            if other.when is None
        ]
        assert ranks == sorted(ranks)

    def test_what_counts_only_sometimes_is_the_weakest(self, entry: Entry) -> None:
        sometimes = [other.when is not None for other in entry.others]
        assert sometimes == sorted(sometimes, reverse=True)

    @pytest.mark.parametrize("service", Service)
    def test_its_default_for_a_service_is_written_as_it_is_shown(self, entry: Entry, service: Service) -> None:
        default = entry.default_for(service)
        assert entry.kind.show(entry.kind.from_text(default, Path())) == default

    def test_it_is_read_by_somebody(self, entry: Entry) -> None:
        assert entry.services
        assert set(entry.defaults) <= set(entry.services)
        assert all(set(other.services) & set(entry.services) for other in entry.others)

    def test_a_deprecated_name_says_what_to_use(self, entry: Entry) -> None:
        assert all(other.instead.endswith(".") for other in entry.others if other.deprecated)


def test_names_are_unique() -> None:
    names = [entry.variable for entry in ENTRIES] + [other.variable for entry in ENTRIES for other in entry.others]
    twice = {name for name in names if names.count(name) > 1}
    assert twice == {"OCIS_INSECURE", "OC_INSECURE"}  # in the Go services, too, they are for every connection


def test_the_unit_of_a_field_is_no_part_of_the_name() -> None:
    assert table()["max_size"].attribute == "max_size_bytes"
    assert table()["max_size"].variable == "PENSTOCK_MAX_SIZE"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().store = "memory"  # type: ignore[misc]
    assert isinstance(Settings().step_timeout, MappingProxyType)


def test_the_defaults_are_those_of_the_go_services_where_they_have_them() -> None:
    defaults = {
        name: table()[name].default
        for name in ("max_retries", "retry_backoff", "delay", "workers", "upload_expiration")
    }
    assert defaults == {
        "max_retries": "14",
        "retry_backoff": "5s",
        "delay": "0s",
        "workers": "3",
        "upload_expiration": "24h",
    }


def test_the_limits_of_clamd_are_those_that_its_scanner_takes_for_granted() -> None:
    # A figure above clamd's own would pass files that it never looked at.
    settings = Settings()
    assert settings.antivirus_clamav_max_file_size_bytes == DEFAULT_LIMIT_BYTES
    assert settings.antivirus_clamav_stream_max_length_bytes == DEFAULT_LIMIT_BYTES


@pytest.mark.parametrize(("setting", "kind"), [("store", "store"), ("bus", "bus"), ("antivirus_scanner", "scanner")])
def test_every_backend_can_be_chosen(setting: str, kind: str) -> None:
    entry = table()[setting]
    for name in backends.TABLE[kind]:
        assert entry.kind.from_text(name, Path()) in (name, (name,))
