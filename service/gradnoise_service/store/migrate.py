"""Upgrades our tables to the newest migration, under a lock for concurrent processes."""

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


def head() -> str | None:
    """Return the newest migration."""
    return ScriptDirectory(str(scripts())).get_current_head()


def upgrade(database: Database, revision: str = "head") -> None:
    """Run the missing migrations on a connection of `database`."""
    with database.engine.connect() as connection:
        config = Config()
        config.set_main_option("script_location", str(scripts()))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()


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
