"""The rule about backends, on made-up import graphs."""

from __future__ import annotations

import pytest
from grimp import ImportGraph

from scripts.import_contracts import BackendsContract


def contract() -> BackendsContract:
    return BackendsContract(
        name="backends",
        session_options={},
        contract_options={
            "folders": ["product.store", "product.later"],
            "named": ["product.steps.scan", "product.steps.later"],
            "shared": ["base", "product.store.files"],
        },
    )


def graph(*imports: tuple[str, str]) -> ImportGraph:
    made = ImportGraph()
    for module in (
        "product.store",
        "product.store.base",
        "product.store.memory",
        "product.store.sqlite",
        "product.app",
    ):
        made.add_module(module)
    for importer, imported in imports:
        made.add_import(importer=importer, imported=imported, line_number=7, line_contents="")
    return made


def test_a_backend_may_import_what_its_folder_shares() -> None:
    allowed = graph(
        ("product.store.memory", "product.store.base"),
        ("product.store.sqlite", "product.store.files"),
        ("product.app", "product.store.base"),
    )
    assert contract().check(allowed, verbose=False).kept


@pytest.mark.parametrize("importer", ["product.store.memory", "product.store.base", "product.store", "product.app"])
def test_nobody_may_import_a_backend(importer: str) -> None:
    result = contract().check(graph((importer, "product.store.sqlite")), verbose=False)
    assert not result.kept


def test_nobody_may_import_a_part_of_a_backend() -> None:
    result = contract().check(graph(("product.app", "product.store.sqlite.tables")), verbose=False)
    assert not result.kept


def test_in_a_mixed_folder_the_named_ones_are_backends() -> None:
    kit = ("product.steps.runner", "product.steps.kit")
    assert contract().check(graph(kit), verbose=False).kept
    assert not contract().check(graph(kit, ("product.steps.runner", "product.steps.scan")), verbose=False).kept


def test_a_backend_may_be_made_of_several_modules() -> None:
    assert contract().check(graph(("product.store.sqlite", "product.store.sqlite.tables")), verbose=False).kept


def test_the_import_in_the_way_is_named_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    rule = contract()
    rule.render_broken_contract(rule.check(graph(("product.app", "product.store.sqlite")), verbose=False))
    printed = " ".join(capsys.readouterr().out.split())
    assert "product.app (line 7) imports the backend product.store.sqlite" in printed
