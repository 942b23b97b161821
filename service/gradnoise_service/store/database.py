"""The database, SQLite or PostgreSQL: engine, sessions, and settings for concurrent SQLite."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, inspect, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.orm import DeclarativeBase, Session

__all__ = ["Database", "Session", "insert_new", "open_database"]

BUSY_SECONDS = 30


class Database:
    """Opens sessions; each commits at the end of its block, and rolls back if the block raises."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite and self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        arguments = {"timeout": BUSY_SECONDS} if self.is_sqlite else {}
        self.engine = create_engine(
            self.url, pool_pre_ping=not self.is_sqlite, connect_args=arguments
        )
        self._writing = self.engine.execution_options(gradnoise_write=True)
        if self.is_sqlite:
            event.listen(self.engine, "connect", _tune_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    @contextmanager
    def session(self, *, write: bool = False) -> Iterator[Session]:
        """Open a transaction; `write` takes SQLite's write lock before anything is read."""
        with (
            Session(self._writing if write else self.engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    def ping(self) -> None:
        """Raise the driver's error if the database is unreachable."""
        with self.engine.connect() as connection:
            connection.execute(select(1))

    def revision(self) -> str | None:
        """Return the revision of the schema, None before the first migration."""
        with self.engine.connect() as connection:
            if not inspect(connection).has_table("gradnoise_alembic_version"):
                return None
            return connection.execute(
                text("SELECT version_num FROM gradnoise_alembic_version")
            ).scalar_one_or_none()

    def dispose(self) -> None:
        self.engine.dispose()


def open_database(url: str) -> Database:
    return Database(url)


def insert_new(
    session: Session, table: type[DeclarativeBase], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Insert at least one row; rows whose key exists are left unchanged."""
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    session.execute(insert(table).on_conflict_do_nothing(), rows)


def _tune_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # else the driver's implicit BEGIN would precede ours
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(
        "BEGIN IMMEDIATE" if connection.get_execution_options().get("gradnoise_write") else "BEGIN"
    )
