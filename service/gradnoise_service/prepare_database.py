"""Create or upgrade every table of the database: `python -m gradnoise_service.prepare_database`."""

import sys

from gradnoise_service import search
from gradnoise_service.store import migrate
from gradnoise_service.store.database import Database


def prepare_database(url: str) -> None:
    """Create or upgrade our tables and Optuna's; safe to call repeatedly and concurrently.

    Raises:
        UnknownSchemaError: If a newer version has upgraded the database.
    """
    database = Database(url)
    try:
        with migrate.schema_lock(database):
            if not migrate.is_current(database):
                migrate.upgrade(database)
            search.prepare(url)
    finally:
        database.dispose()


def prepare_or_exit(url: str) -> None:
    """Prepare the database, or end the process with the sentence that says why it cannot be."""
    try:
        prepare_database(url)
    except migrate.UnknownSchemaError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    from gradnoise_service.settings import read_settings

    prepare_or_exit(read_settings().database)
