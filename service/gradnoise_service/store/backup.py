"""A database as a file: a JSON array for each row, the same for SQLite and PostgreSQL.

The file is compressed by gzip. Its first line is a header, then each table has a line with its name
and columns, which its rows follow; the last line has the number of rows, and for tables whose ids
are not used again the last id.
"""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from sqlalchemy import (
    JSON,
    Connection,
    DateTime,
    MetaData,
    Table,
    func,
    insert,
    inspect,
    select,
    text,
)

from gradnoise_service.store.database import Database
from gradnoise_service.store.tables import PREFIX

FORMAT = "gradnoise backup 1"
SCHEMA_TABLE = PREFIX + "alembic_version"
OPTUNA_SCHEMA_TABLE = "alembic_version"
SCHEMA_TABLES = (SCHEMA_TABLE, OPTUNA_SCHEMA_TABLE, "version_info")
"""Tables that the creation of the schema fills."""
N_AT_ONCE = 1000


class BackupError(Exception):
    """The file is not a whole backup, or the database cannot take it."""


def write(database: Database, file: Path, now: datetime) -> int:
    """Write all rows as they are at one moment, while others may write; return their number."""
    level = {} if database.is_sqlite else {"isolation_level": "REPEATABLE READ"}
    with (
        database.engine.connect().execution_options(**level) as connection,
        gzip.open(file, "wt", encoding="utf-8", compresslevel=6) as lines,
    ):
        tables = _tables(connection)
        header = {
            "format": FORMAT,
            "schema": _revision(connection, SCHEMA_TABLE),
            "optuna": _revision(connection, OPTUNA_SCHEMA_TABLE),
            "written_at": now.isoformat(),
        }
        _print(lines, header)
        n_rows = 0
        for table in tables:
            _print(lines, {"table": table.name, "columns": table.columns.keys()})
            rows = connection.execution_options(yield_per=N_AT_ONCE).execute(select(table))
            for row in rows:
                _print(lines, [_plain(value) for value in row])
                n_rows += 1
        _print(lines, {"rows": n_rows, "last_ids": _last_ids(connection, tables)})
    return n_rows


def header(file: Path) -> Mapping[str, Any]:
    """Return the header of a backup: its `schema`, that of `optuna`, and when it was written.

    Raises:
        BackupError: If the file is no backup.
        OSError: If it cannot be read.
    """
    try:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            found = json.loads(lines.readline())
    except (gzip.BadGzipFile, EOFError, UnicodeDecodeError, json.JSONDecodeError):
        found = None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise BackupError(f"{file} is not a backup that `gradnoise db backup` has written.")
    return found


def is_empty(database: Database) -> bool:
    """Return whether a database has no rows, other than those of the creation of its schema."""
    with database.engine.connect() as connection:
        return all(
            connection.execute(select(table).limit(1)).first() is None
            for table in _tables(connection)
        )


def optuna_revision(database: Database) -> str | None:
    """Return the revision of Optuna's tables."""
    with database.engine.connect() as connection:
        return _revision(connection, OPTUNA_SCHEMA_TABLE)


def load(database: Database, file: Path) -> int:
    """Insert the rows of a backup in one transaction, and return their number.

    Args:
        database: An empty database with the schema of the backup.
        file: The backup.

    Raises:
        BackupError: If the file ends early, or has a table that the database lacks.
    """
    try:
        with (
            database.engine.begin() as connection,
            gzip.open(file, "rt", encoding="utf-8") as lines,
        ):
            next(lines)
            return _load(connection, map(json.loads, lines))
    except (gzip.BadGzipFile, EOFError, json.JSONDecodeError, KeyError, StopIteration) as error:
        raise BackupError(f"{file} is not a whole backup ({type(error).__name__}).") from None


def _load(connection: Connection, lines: Iterator[Any]) -> int:
    tables = {table.name: table for table in _tables(connection)}
    rows: list[dict[str, Any]] = []
    table, columns, n_rows = None, [], 0
    for line in lines:
        if isinstance(line, list):
            assert table is not None
            rows.append(_typed(columns, line))
            n_rows += 1
            if len(rows) < N_AT_ONCE:
                continue
        if rows and table is not None:
            connection.execute(insert(table), rows)
            rows = []
        if isinstance(line, list):
            continue
        if "table" in line:
            table = tables[line["table"]]
            columns = [table.columns[name] for name in line["columns"]]
        else:
            if line["rows"] != n_rows:
                raise EOFError
            _set_last_ids(connection, list(tables.values()), line["last_ids"])
            return n_rows
    raise EOFError


def _tables(connection: Connection) -> Sequence[Table]:
    """Return the tables as the database describes them, those that others refer to first."""
    found = MetaData()
    found.reflect(connection)
    tables = [table for table in found.sorted_tables if table.name not in SCHEMA_TABLES]
    for column in (column for table in tables for column in table.columns):
        if isinstance(column.type, JSON):
            column.type.none_as_null = True
    return tables


def _revision(connection: Connection, table: str) -> str | None:
    if not inspect(connection).has_table(table):
        return None
    return connection.execute(text(f"SELECT version_num FROM {table}")).scalar_one_or_none()


def _print(lines: TextIO, value: Any) -> None:
    lines.write(json.dumps(value, separators=(",", ":")) + "\n")


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _typed(columns: Sequence[Any], values: Sequence[Any]) -> dict[str, Any]:
    return {
        column.name: _value(column.type, value)
        for column, value in zip(columns, values, strict=True)
    }


def _value(kind: Any, value: Any) -> Any:
    if not isinstance(kind, DateTime) or value is None:
        return value
    time = datetime.fromisoformat(value)
    if kind.timezone:
        return time if time.tzinfo else time.replace(tzinfo=UTC)
    return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time


def _last_ids(connection: Connection, tables: Sequence[Table]) -> dict[str, int]:
    """Return the last id that was given in each table whose ids are not used again."""
    if connection.dialect.name == "sqlite":
        query = "SELECT name, seq FROM sqlite_sequence"
        return {row.name: row.seq for row in connection.execute(text(query))}
    found = {}
    for table, sequence in _sequences(connection, tables):
        query = f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}"
        found[table.name] = int(connection.execute(text(query)).scalar_one())
    return found


def _set_last_ids(
    connection: Connection, tables: Sequence[Table], last_ids: Mapping[str, int]
) -> None:
    if connection.dialect.name == "sqlite":
        for name, last in last_ids.items():
            values = {"name": name, "last": last}
            update = "UPDATE sqlite_sequence SET seq = max(seq, :last) WHERE name = :name"
            add = (
                "INSERT INTO sqlite_sequence SELECT :name, :last WHERE NOT EXISTS "
                "(SELECT 1 FROM sqlite_sequence WHERE name = :name)"
            )
            for statement in (update, add):
                connection.execute(text(statement), values)
        return
    for table, sequence in _sequences(connection, tables):
        [key] = table.primary_key.columns
        largest = connection.execute(select(func.max(key))).scalar_one() or 0
        last = max(largest, last_ids.get(table.name, 0))
        if last:
            connection.execute(select(func.setval(sequence, last)))


def _sequences(connection: Connection, tables: Sequence[Table]) -> Iterator[tuple[Table, str]]:
    """Yield the tables of PostgreSQL whose ids are from a sequence, with its name."""
    for table in tables:
        columns = list(islice(table.primary_key.columns, 2))
        if len(columns) != 1:
            continue
        name = func.pg_get_serial_sequence(table.name, columns[0].name)
        sequence = connection.execute(select(name)).scalar_one()
        if sequence is not None:
            yield table, str(sequence)
