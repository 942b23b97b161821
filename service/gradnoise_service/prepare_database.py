"""Create or upgrade every table of the database: `python -m gradnoise_service.prepare_database`."""

from gradnoise_service import search
from gradnoise_service.store import migrate
from gradnoise_service.store.database import Database


def prepare_database(url: str) -> None:
    """Create or upgrade our tables and Optuna's; safe to call repeatedly and concurrently."""
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
