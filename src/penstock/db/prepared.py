"""Statements that run at every upload: turned into SQL text once, not at every execution.

SQLAlchemy's own execution costs three times what SQLite needs for such a statement. It stays the place where they are
written; what is skipped is the conversion of values, so these may only be of types that the driver takes as they are:
text, numbers, bytes, truth values and None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, CursorResult, Delete, Dialect, Insert, Select, Update


class _Text(NamedTuple):
    sql: str
    fixed: Mapping[str, Any]
    """Values that are part of the statement."""
    order: Sequence[str] | None
    """Names in the order in which the driver wants their values; None if it wants the names."""


class Prepared:
    """A statement, compiled at its first execution, once for each kind of database.

    Args:
        statement: without lists of parameters (`IN`).
        columns: which columns an insert or update sets.
    """

    def __init__(self, statement: Select[Any] | Insert | Update | Delete, *columns: str) -> None:
        self._statement = statement
        self._columns = list(columns) or None
        self._texts: dict[str, _Text] = {}

    def execute(self, connection: Connection, values: Mapping[str, Any]) -> CursorResult[Any]:
        """Run it. `values` has one for each parameter and column, by name.

        Raises:
            KeyError: one is missing.
        """
        text = self._text(connection.dialect)
        return connection.exec_driver_sql(text.sql, _arranged(text, values))

    def execute_many(self, connection: Connection, values: Sequence[Mapping[str, Any]]) -> None:
        """Run it once for each element of `values`, in order."""
        text = self._text(connection.dialect)
        connection.exec_driver_sql(text.sql, [_arranged(text, one) for one in values])

    def _text(self, dialect: Dialect) -> _Text:
        known = self._texts.get(dialect.name)
        if known is not None:
            return known
        compiled = self._statement.compile(dialect=dialect, column_keys=self._columns)
        fixed = {
            name: parameter.effective_value for name, parameter in compiled.binds.items() if not parameter.required
        }
        order = compiled.positiontup if compiled.positional else None
        text = self._texts[dialect.name] = _Text(str(compiled), fixed, order)
        return text


def _arranged(text: _Text, values: Mapping[str, Any]) -> Any:
    if text.fixed:
        values = {**text.fixed, **values}
    return dict(values) if text.order is None else tuple([values[name] for name in text.order])
