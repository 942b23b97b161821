"""Prepares a database for the service: our tables and Optuna's, under one lock, before anything
else touches it.
"""

from gradnoise_service import search
from gradnoise_service.store import migrate
from gradnoise_service.store.database import Database


def prepare_database(url: str) -> None:
    """Create or upgrade every table; safe to call from any number of processes, and again."""
    database = Database(url)
    try:
        with migrate.schema_lock(database):
            if database.revision() != migrate.head():
                migrate.upgrade(database)
            search.prepare(url)
    finally:
        database.dispose()


if __name__ == "__main__":
    from gradnoise_service.settings import Settings

    prepare_database(Settings().database)
