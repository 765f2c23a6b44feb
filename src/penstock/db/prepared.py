"""Statements that run at every upload: turned into SQL text once, and handed to the driver without a detour.

SQLAlchemy's own execution costs three times what SQLite needs for such a statement. It stays the place where they are
written, and where transactions begin and end; what is skipped is the conversion of values, so these may only be of
types that the driver takes as they are: text, numbers, bytes, truth values and None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Connection, Delete, Dialect, Insert, Select, TextClause, Update
    from sqlalchemy.engine.interfaces import DBAPICursor

T = TypeVar("T")


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

    def __init__(self, statement: Select[Any] | Insert | Update | Delete | TextClause, *columns: str) -> None:
        self.statement = statement
        self._columns = list(columns) or None
        self._texts: dict[str, _Text] = {}

    def execute(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Run it; return how many rows it wrote. `values` has one for each parameter and column, by name.

        Raises:
            KeyError: one is missing.
            DBAPIError: as SQLAlchemy's own execution.
        """
        text, arranged = self._made(connection, values)

        def run(cursor: DBAPICursor) -> int:
            cursor.execute(text.sql, arranged)
            return cursor.rowcount

        return _with_cursor(connection, text.sql, arranged, run)

    def execute_all(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run it once for each of `rows`, in their order.

        Raises:
            KeyError, DBAPIError: as `execute`.
        """
        if len(rows) == 1:
            self.execute(connection, rows[0])
        elif rows:
            text = self._text(connection.dialect)
            arranged = [_arranged(text, values) for values in rows]
            _with_cursor(connection, text.sql, arranged, lambda cursor: cursor.executemany(text.sql, arranged))

    def first(self, connection: Connection, values: Mapping[str, Any]) -> Sequence[Any] | None:
        """Run it; return the first row that it finds, or None.

        Raises:
            KeyError, DBAPIError: as `execute`.
        """
        text, arranged = self._made(connection, values)

        def run(cursor: DBAPICursor) -> Sequence[Any] | None:
            cursor.execute(text.sql, arranged)
            row: Sequence[Any] | None = cursor.fetchone()
            return row

        return _with_cursor(connection, text.sql, arranged, run)

    def all(self, connection: Connection, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """Run it; return all rows that it finds, or that it tells of what it wrote.

        Raises:
            KeyError, DBAPIError: as `execute`.
        """
        text, arranged = self._made(connection, values)

        def run(cursor: DBAPICursor) -> Sequence[Sequence[Any]]:
            cursor.execute(text.sql, arranged)
            rows: Sequence[Sequence[Any]] = cursor.fetchall()
            return rows

        return _with_cursor(connection, text.sql, arranged, run)

    def _made(self, connection: Connection, values: Mapping[str, Any]) -> tuple[_Text, Any]:
        text = self._text(connection.dialect)
        return text, _arranged(text, values)

    def _text(self, dialect: Dialect) -> _Text:
        known = self._texts.get(dialect.name)
        if known is not None:
            return known
        compiled = self.statement.compile(dialect=dialect, column_keys=self._columns)
        fixed = {
            name: parameter.effective_value for name, parameter in compiled.binds.items() if not parameter.required
        }
        order = compiled.positiontup if compiled.positional else None
        text = self._texts[dialect.name] = _Text(str(compiled), fixed, order)
        return text


def _with_cursor(connection: Connection, sql: str, values: Any, run: Callable[[DBAPICursor], T]) -> T:
    """Return what `run` does with a cursor; `sql` and `values` are for the message of an error."""
    driver = connection.dialect.loaded_dbapi
    cursor = connection.connection.cursor()
    try:
        return run(cursor)
    except driver.Error as error:
        if connection.dialect.is_disconnect(error, cursor.connection, cursor):
            connection.invalidate(error)  # the next use begins a new one
        raise _translated(error, connection, sql, values) from error
    finally:
        cursor.close()  # a select that was not read to its end would go on holding what it saw


def _arranged(text: _Text, values: Mapping[str, Any]) -> Any:
    if text.fixed:
        values = {**text.fixed, **values}
    return dict(values) if text.order is None else tuple([values[name] for name in text.order])


def _translated(error: Exception, connection: Connection, sql: str, values: Any) -> BaseException:
    """Return SQLAlchemy's error for one of the driver's."""
    dialect = connection.dialect
    translated: BaseException = DBAPIError.instance(sql, values, error, dialect.loaded_dbapi.Error, dialect=dialect)
    return translated
