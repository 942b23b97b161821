"""Statements that are compiled once and executed by the database's driver.

SQLAlchemy writes the statement and converts its values; its own execution of a statement takes ten
times as long as SQLite takes to find a row.
"""

from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import Dialect, Insert, Select
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

Conversion = Callable[[Any], Any]


@dataclass(frozen=True)
class DriverTransaction:
    """A transaction that executes prepared statements alone.

    Args:
        dialect: The database's.
        driver: The connection of its driver.
    """

    dialect: Dialect
    driver: Any

    def commit(self) -> None:
        """Store what was written."""
        self.driver.commit()

    def rollback(self) -> None:
        """Undo what was written."""
        self.driver.rollback()


Transaction: TypeAlias = Session | DriverTransaction
"""What a prepared statement is executed in."""


class Prepared:
    """A statement, whose rows have the columns as attributes.

    Args:
        statement: Its values are parameters with a type; none may be expanding.
    """

    def __init__(self, statement: Select[Any] | Insert) -> None:
        self._statement = statement
        self._compiled: dict[str, _Compiled] = {}

    def rows(self, transaction: Transaction, **values: Any) -> Sequence[Any]:
        """Execute the statement with the values of its parameters, and return its rows."""
        if isinstance(transaction, DriverTransaction):
            dialect, driver = transaction.dialect, transaction.driver
        else:
            transaction.flush()
            connection = transaction.connection()
            dialect, driver = connection.dialect, connection.connection.driver_connection
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = _Compiled(self._statement, dialect)
        return compiled.rows(driver, values)

    def first(self, transaction: Transaction, **values: Any) -> Any:
        """Return the first row, None if there is none."""
        rows = self.rows(transaction, **values)
        return rows[0] if rows else None


def dialect_of(transaction: Transaction) -> Dialect:
    """Return the dialect of a transaction's database."""
    if isinstance(transaction, DriverTransaction):
        return transaction.dialect
    return transaction.get_bind().dialect


class _Compiled:
    def __init__(self, statement: Select[Any] | Insert, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        assert isinstance(compiled, SQLCompiler)
        self._text = compiled.string
        self._order = compiled.positiontup
        conversions = {
            name: convert
            for parameter, name in compiled.bind_names.items()
            if (convert := _to_driver(parameter.type, dialect)) is not None
        }
        self._fixed = {
            name: conversions.get(name, _same)(value)
            for name, value in compiled.params.items()
            if not compiled.binds[name].required
        }
        self._conversions = {n: c for n, c in conversions.items() if n not in self._fixed}
        self._dialect = dialect
        self._columns = compiled.statement.exported_columns  # type: ignore[union-attr]  # has some
        self._row: Any = namedtuple("Row", self._columns.keys(), rename=True)  # type: ignore[misc]
        self._results: list[tuple[int, Conversion]] | None = None

    def rows(self, driver: Any, values: Mapping[str, Any]) -> Sequence[Any]:
        given = {**self._fixed, **values}
        for name, convert in self._conversions.items():
            given[name] = convert(given[name])
        sent = given if self._order is None else [given[name] for name in self._order]
        cursor = driver.execute(self._text, sent)
        if self._results is None:
            self._results = list(self._conversions_of(cursor.description))
        found = map(list, cursor.fetchall()) if self._results else cursor.fetchall()
        return [self._row_of(row) for row in found]

    def _row_of(self, values: Any) -> Any:
        for i, convert in self._results or ():
            values[i] = convert(values[i])
        return self._row._make(values)

    def _conversions_of(self, described: Sequence[Any]) -> Iterator[tuple[int, Conversion]]:
        """Yield the conversion of each column that needs one; it depends on the driver's type."""
        for i, column in enumerate(self._columns):
            impl = column.type.dialect_impl(self._dialect)
            convert = impl.result_processor(self._dialect, described[i][1])
            if convert is not None:
                yield i, convert


def _same(value: Any) -> Any:
    return value


def _to_driver(of: TypeEngine[Any], dialect: Dialect) -> Conversion | None:
    return of.dialect_impl(dialect).bind_processor(dialect)
