"""Every variable that the reference of the Go services lists is taken, with their default and their precedence."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from penstock.settings import Service, Settings, load_settings
from penstock.settings.go_names import KEYS, SETS_NOTHING
from penstock.settings.table import table

DATA = tomllib.loads((Path(__file__).parents[2] / "data" / "settings" / "go-variables.toml").read_text())
PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "settings.md").read_text()


class Line(NamedTuple):
    service: Service
    names: list[str]
    """The weakest first, in all spellings."""
    setting: str
    default: str
    other: str
    value: str
    deprecated: bool


def spelt(names: list[str], service: Service) -> list[str]:
    """Return names in the spelling of oCIS, then in the one of OpenCloud and the service's own."""
    full = [name.replace("<S>", service.upper()) for name in names]
    return [f"OCIS_{name[3:]}" for name in full if name.startswith("OC_")] + full


def lines() -> list[Line]:
    found = []
    for one in DATA["variable"]:
        both = [Service.POSTPROCESSING, Service.ANTIVIRUS]
        for service in both if one["service"] == "both" else [Service(one["service"])]:
            names, value = spelt(one["names"], service), one.get("value", one["other"])
            deprecated = one.get("deprecated", False)
            found.append(Line(service, names, one["setting"], one["default"], one["other"], value, deprecated))
    return found


LINES = lines()
NOTHING = [(name, one) for one in DATA["nothing"] for name in one["names"]]


def load(line: Line, environ: dict[str, str]) -> Settings:
    return load_settings(environ=environ, folder=Path("/nowhere"), service=line.service)


def shown(line: Line, settings: Settings) -> str:
    entry = table(line.service)[line.setting]
    return entry.show(getattr(settings, entry.attribute))


def names_of(line: Line) -> str:
    return f"{line.service}-{line.names[-1]}"


@pytest.mark.parametrize("line", LINES, ids=names_of)
class TestEachVariable:
    def test_its_default_is_that_of_the_go_service(self, line: Line) -> None:
        assert shown(line, load(line, {})) == line.default

    def test_each_of_its_names_sets_it(self, line: Line) -> None:
        for name in line.names:
            settings = load(line, {name: line.other})
            assert (shown(line, settings), settings.origins[line.setting].name) == (line.value, name)

    def test_of_two_names_the_later_one_counts(self, line: Line) -> None:
        for weak, strong in zip(line.names, line.names[1:], strict=False):
            shared = weak in {"OCIS_INSECURE", "OC_INSECURE"}  # is looked at for another connection
            settings = load(line, {strong: line.other, weak: "false" if shared else "nonsense: not even looked at"})
            assert (shown(line, settings), settings.origins[line.setting].name) == (line.value, strong)

    def test_an_empty_name_hides_the_weaker_ones(self, line: Line) -> None:
        if len(line.names) > 1:
            settings = load(line, {line.names[-1]: "", line.names[0]: line.other})
            assert shown(line, settings) != line.value

    def test_our_own_name_beats_them_all(self, line: Line) -> None:
        entry = table()[line.setting]
        ours = "ours" if line.value == "***" else line.value
        settings = load(line, {entry.variable: ours} | dict.fromkeys(line.names, line.other))
        adds = any(other.adds for other in entry.others if other.variable in line.names)
        assert settings.origins[line.setting].name == (line.names[-1] if adds else entry.variable)
        assert shown(line, settings) == line.value

    def test_only_an_old_name_is_warned_of(self, line: Line) -> None:
        warnings = [one for one in load(line, {line.names[-1]: line.other}).warnings if "deprecated" in one]
        assert bool(warnings) is line.deprecated
        assert all(one.startswith(f"{line.names[-1]} is deprecated. ") for one in warnings)

    def test_the_reference_has_it(self, line: Line) -> None:
        row = next(row for row in PAGE.splitlines() if row.startswith(f"| `{line.setting}` |"))
        assert all(f"`{name}`" in row for name in line.names)


@pytest.mark.parametrize(("name", "line"), NOTHING, ids=[name for name, _ in NOTHING])
def test_what_sets_nothing_is_accepted_and_explained(name: str, line: dict[str, Any]) -> None:
    for service in Service:
        settings = load_settings(environ={name: line["other"]}, folder=Path("/nowhere"), service=service)
        assert {str(origin) for origin in settings.origins.values()} == {"default"}
        reads = service is Service.SERVE or name.startswith(f"{service.upper()}_")
        assert len(settings.warnings) == int(line["told"] and reads)
        assert all(re.match(rf"{name}( \(environment\))? {re.escape(line['why'])}", one) for one in settings.warnings)
    assert any(f"`{name}`" in row and line["why"] in row for row in PAGE.splitlines())


def test_a_value_that_asks_for_nothing_is_not_worth_a_word() -> None:
    environ = {"POSTPROCESSING_DEBUG_PPROF": "false", "ANTIVIRUS_DEBUG_SCAN_OUTCOME": ""}
    assert load_settings(environ=environ, folder=Path("/nowhere")).warnings == ()


def test_the_list_of_the_reference_and_ours_are_the_same() -> None:
    listed = {name for line in LINES for name in line.names}
    taken = {other.variable for entry in table().values() for other in entry.others}
    ours = {"POSTPROCESSING_STEP_TIMEOUT"}
    of_storage_users = {name for name in taken if name.startswith("STORAGE_USERS_")}
    assert taken - of_storage_users - ours == {name for name in listed if not name.startswith("STORAGE_USERS_")}
    assert {name for one in SETS_NOTHING for name in one.variables} == {name for name, _ in NOTHING}


def test_each_key_of_a_go_file_has_a_variable_that_the_service_reads() -> None:
    for service, keys in KEYS.items():
        reads = {other.variable for entry in table(service).values() for other in entry.names_for(service)}
        reads |= {name for one in SETS_NOTHING for name in one.variables}
        assert set(keys.values()) <= reads
