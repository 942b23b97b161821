"""Upgrades our tables to the newest migration, under a lock for concurrent processes."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from filelock import FileLock
from sqlalchemy import text

from gradnoise_service.store.database import Database

ADVISORY_LOCK = 7_312_025  # any number that nothing else in the database uses


class UnknownSchemaError(Exception):
    """The database has a schema that this version does not know."""

    def __init__(self, revision: str) -> None:
        self.revision = revision
        super().__init__(
            f"The database has schema {revision}, which this version of gradnoise does not know "
            f"(its newest is {head()}): a newer version has upgraded it, so install that version."
        )


def scripts() -> Path:
    """Return the folder of the migrations.

    It is inside the installed package, or beside the package in a checkout.
    """
    package = Path(__file__).resolve().parents[1]
    return next(
        folder
        for folder in (package / "alembic", package.parents[1] / "alembic")
        if (folder / "env.py").exists()
    )


@functools.cache
def revisions() -> tuple[str, ...]:
    """Return the migrations, the newest first; they are read once per process."""
    directory = ScriptDirectory(str(scripts()))
    return tuple(script.revision for script in directory.walk_revisions())


def head() -> str:
    """Return the newest migration."""
    return revisions()[0]


def is_current(database: Database) -> bool:
    """Return whether the database has the newest schema; False if an upgrade is due.

    Raises:
        UnknownSchemaError: If no migration leads to its schema.
    """
    revision = database.revision()
    if revision is not None and not is_known(revision):
        raise UnknownSchemaError(revision)
    return revision == head()


def is_known(revision: str) -> bool:
    """Return whether a migration leads to a schema."""
    return revision in revisions()


def upgrade(database: Database, revision: str = "head") -> None:
    """Run the missing migrations on a connection of `database`."""
    with migrating(database) as config:
        command.upgrade(config, revision)


@contextmanager
def migrating(database: Database) -> Iterator[Config]:
    """Yield the configuration of migrations, with a connection that is committed after the block.

    A migration may make a table of SQLite anew; the rows that refer to it stay, because foreign
    keys have no effect in the block.
    """
    with database.engine.connect() as connection:
        driver = connection.connection.driver_connection
        if database.is_sqlite and driver is not None:
            driver.execute("PRAGMA foreign_keys=OFF")  # has no effect within a transaction
        config = Config()
        config.set_main_option("script_location", str(scripts()))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        try:
            yield config
            connection.commit()
        finally:
            connection.rollback()
            if database.is_sqlite and driver is not None:
                driver.execute("PRAGMA foreign_keys=ON")


@contextmanager
def schema_lock(database: Database) -> Iterator[None]:
    """Hold the lock under which the schema is changed.

    It is an advisory lock in PostgreSQL, and a lock file beside a SQLite file.
    """
    if database.is_sqlite:
        with FileLock(f"{database.url.database}.schema.lock"):
            yield
        return
    with database.engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
        connection.commit()
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": ADVISORY_LOCK})
            connection.commit()
