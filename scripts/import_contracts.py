"""Our own import-linter rule: a backend is known to nobody, and knows no other backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from importlinter import Contract, ContractCheck, fields, output

if TYPE_CHECKING:
    from grimp import ImportGraph


class BackendsContract(Contract):
    """Keeps the backend files of a folder apart from each other and from the rest of the product.

    A folder's direct children are its backends, except the `shared` ones (the port, pure modules, the kit).
    A backend is loaded by its name in the table of backends, so no import statement anywhere may name it.
    New backends need no line in the configuration: they fall under the rule by where they are.

    Options:
        folders: Packages whose children are backends. One that does not exist yet is passed over.
        named: Backends in folders that hold more than backends. One that does not exist yet is passed over.
        shared: Children that are no backends: by name, for any of the folders, or as a whole path for one.
    """

    type_name = "backends"

    folders = fields.ListField(subfield=fields.StringField())
    named = fields.ListField(subfield=fields.StringField())
    shared = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Looks for an import of a backend from outside of that backend."""
        backends = self._backends(graph)
        found = [details for backend in sorted(backends) for details in _imports_from_outside(graph, backend)]
        return ContractCheck(kept=not found, metadata={"found": found})

    def _backends(self, graph: ImportGraph) -> set[str]:
        folders, named, shared = (cast("list[str]", option) for option in (self.folders, self.named, self.shared))
        children = {child for folder in folders if folder in graph.modules for child in graph.find_children(folder)}
        by_place = {child for child in children if child not in shared and child.rpartition(".")[2] not in shared}
        return by_place | (graph.modules & set(named))

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Names each import that is in the way, with its line."""
        for details in check.metadata["found"]:
            output.print_error(
                f"{details['importer']} (line {details['line_number']}) imports the backend "
                f"{details['imported']}. Load it through penstock.backends, or move what both need to `base`."
            )


def _imports_from_outside(graph: ImportGraph, backend: str) -> list[dict[str, Any]]:
    own = {backend, *graph.find_descendants(backend)}
    return [
        dict(details)
        for module in sorted(own)
        for importer in sorted(graph.find_modules_that_directly_import(module) - own)
        for details in graph.get_import_details(importer=importer, imported=module)
    ]
