"""The database, SQLite or PostgreSQL: engine, sessions, and settings for concurrent SQLite."""

import functools
import math
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    NullPool,
    Table,
    bindparam,
    create_engine,
    event,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from gradnoise_service.domain.errors import DatabaseUnavailableError
from gradnoise_service.store.prepared import (
    DriverTransaction,
    Prepared,
    Transaction,
    dialect_of,
)

__all__ = [
    "Database",
    "DriverTransaction",
    "Session",
    "insert_new",
    "insert_one",
    "is_unavailable",
    "limit_waits",
    "open_database",
]

BUSY_SECONDS = 30
PING_SECONDS = 3


class Database:
    """Opens sessions; each commits at the end of its block, and rolls back if the block raises.

    Args:
        url: SQLAlchemy URL of the database.
        patience_seconds: How long to wait for a connection, for each answer of PostgreSQL, and for
            SQLite's write lock; by default 30 s for the lock, and for ever for an answer.
    """

    def __init__(self, url: str, patience_seconds: float | None = None) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite and self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        self.engine = self._engine(patience_seconds)
        self._writing = self.engine.execution_options(gradnoise_write=True)
        self._dbapi: Any = self.engine.dialect.loaded_dbapi
        self._errors = (DBAPIError, PoolTimeoutError, self._dbapi.Error)

    @contextmanager
    def session(self, *, write: bool = False) -> Iterator[Session]:
        """Open a transaction; `write` takes SQLite's write lock before anything is read.

        Raises:
            DatabaseUnavailableError: If the database cannot be reached, does not answer, is locked
                for too long, or ends the connection.
        """
        try:
            with (
                Session(self._writing if write else self.engine, expire_on_commit=False) as session,
                session.begin(),
            ):
                yield session
        except self._errors as error:
            if self._is_unavailable(error):
                raise DatabaseUnavailableError() from error
            raise

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[DriverTransaction]:
        """Open a transaction for prepared statements alone; the rest is as of `session`.

        It takes a tenth of the time of a session. On PostgreSQL each statement of one that does not
        write is its own transaction, without a round trip for begin and end: at its isolation level
        it would see what others commit meanwhile all the same.
        """
        is_autocommit = not (write or self.is_sqlite)
        try:
            connection = self.engine.raw_connection()
            try:
                driver: Any = connection.driver_connection
                if self.is_sqlite:
                    driver.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                if is_autocommit:
                    driver.autocommit = True
                transaction = DriverTransaction(self.engine.dialect, driver)
                yield transaction
                transaction.commit()
            except self._dbapi.Error as error:
                connection.invalidate(error)
                raise
            finally:
                if is_autocommit and connection.is_valid:
                    driver.autocommit = False
                connection.close()  # rolls back what is not committed
        except self._errors as error:
            if self._is_unavailable(error):
                raise DatabaseUnavailableError() from error
            raise

    def ping(self) -> None:
        """Raise the driver's error if the database does not answer within `PING_SECONDS`."""
        engine = self._engine(PING_SECONDS, poolclass=NullPool)
        with engine.connect() as connection:
            connection.execute(select(1))

    def revision(self) -> str | None:
        """Return the revision of the schema, None before the first migration."""
        with self.engine.connect() as connection:
            if not inspect(connection).has_table("gradnoise_alembic_version"):
                return None
            return connection.execute(
                text("SELECT version_num FROM gradnoise_alembic_version")
            ).scalar_one_or_none()

    def _is_unavailable(self, error: BaseException) -> bool:
        """Return `is_unavailable`, for errors of the driver too: those of prepared statements."""
        kinds = (self._dbapi.OperationalError, self._dbapi.InterfaceError)
        return is_unavailable(error) or isinstance(error, kinds)

    def dispose(self) -> None:
        self.engine.dispose()

    def _engine(self, patience_seconds: float | None, **options: Any) -> Engine:
        if self.is_sqlite:
            seconds = BUSY_SECONDS if patience_seconds is None else patience_seconds
            engine = create_engine(self.url, connect_args={"timeout": seconds}, **options)
            event.listen(engine, "connect", _tune_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        if "poolclass" not in options and patience_seconds is not None:
            options["pool_timeout"] = patience_seconds
        engine = create_engine(self.url, pool_pre_ping="poolclass" not in options, **options)
        if patience_seconds is not None:
            limit_waits(engine, patience_seconds)
        return engine


def open_database(url: str, patience_seconds: float | None = None) -> Database:
    return Database(url, patience_seconds)


def limit_waits(engine: Engine, seconds: float) -> None:
    """Bound how long new connections of an engine wait for PostgreSQL; leave SQLite's alone."""
    if engine.dialect.name == "postgresql":
        event.listen(engine, "do_connect", _patient(seconds))


def insert_new(session: Session, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert at least one row; rows whose key exists are left unchanged."""
    session.execute(_insert_new(session.get_bind().dialect.name, table), rows)


def insert_one(transaction: Transaction, table: Table, values: Mapping[str, Any]) -> int | None:
    """Insert a row and return its id, None if a row with one of its unique keys exists."""
    inserted = _insert_one(dialect_of(transaction).name, table, tuple(values))
    row = inserted.first(transaction, **values)
    return None if row is None else row.id


@functools.cache
def _insert_one(dialect: str, table: Table, names: tuple[str, ...]) -> Prepared:
    values = {name: bindparam(name, type_=table.c[name].type) for name in names}
    return Prepared(_insert_new(dialect, table).values(values).returning(table.c.id))


@functools.cache
def _insert_new(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    return insert(table).on_conflict_do_nothing()


def is_unavailable(error: BaseException | None) -> bool:
    """Return whether an error, or what it was raised from, is that the database does not answer."""
    while error is not None:
        kinds = (DatabaseUnavailableError, OperationalError, InterfaceError, PoolTimeoutError)
        if isinstance(error, kinds):
            return True
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return True
        error = error.__cause__
    return False


def _patient(seconds: float) -> Callable[..., Any]:
    # psycopg is imported for PostgreSQL alone: without it a service on SQLite starts faster
    from gradnoise_service.store.patient_connection import PatientConnection

    def connect(
        _dialect: Any, _record: Any, arguments: Sequence[Any], keywords: Mapping[str, Any]
    ) -> PatientConnection:
        limits = {"connect_timeout": max(2, math.ceil(seconds))}  # psycopg waits at least 2 s
        connection = PatientConnection.connect(*arguments, **{**limits, **keywords})
        connection.patience_seconds = seconds
        return connection

    return connect


def _tune_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # else the driver's implicit BEGIN would precede ours
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    if connection.get_execution_options().get("gradnoise_write"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:  # cannot fail, and takes a third of the time so
        driver: Any = connection.connection.driver_connection
        driver.execute("BEGIN")
