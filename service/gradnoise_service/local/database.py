"""Maintenance of the database: upgrade, prune, back up and restore it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from gradnoise_service import search
from gradnoise_service.domain.study import Study
from gradnoise_service.local.errors import DatabaseError, FileExistsAlreadyError
from gradnoise_service.prepare_database import prepare_database
from gradnoise_service.settings import Settings
from gradnoise_service.store import backup, deletion, migrate, retention
from gradnoise_service.store.backup import BackupError
from gradnoise_service.store.database import Database, open_database
from gradnoise_service.usecases.removal import Remover
from gradnoise_service.usecases.study_folders import StudyFolders


def upgrade(settings: Settings) -> str | None:
    """Create or upgrade the tables, and return their schema.

    Raises:
        DatabaseError: If the database cannot be reached, or a newer version has upgraded it.
    """
    with _opened(settings):
        prepare_database(settings.database)
    return migrate.head()


def old_studies(settings: Settings, before: datetime, *, whole: bool) -> Sequence[Study]:
    """Return the studies that `prune` would remove, or remove something of; raises as `prune`."""
    with _current(settings) as database, database.session() as session:
        return retention.ended(session, before, pruned=whole)


def prune(settings: Settings, before: datetime, now: datetime, *, whole: bool) -> Sequence[Study]:
    """Remove logs, files and checkpoints of studies that ended before a time.

    Args:
        settings: Where database, checkpoints and files are.
        before: The time.
        now: The present time.
        whole: Whether to delete the studies with all that they have left.

    Returns:
        The studies.

    Raises:
        DatabaseError: If the database cannot be reached, or has another schema.
    """
    with _current(settings) as database:
        storage = search.open_storage(settings.database)
        remover = Remover(
            database=database,
            storage=storage,
            folders=[
                StudyFolders(url=settings.checkpoints_url),
                StudyFolders(url=settings.artifacts_url),
            ],
        )
        try:
            if not whole:
                return remover.prune(before, now)
            with database.session(write=True) as session:
                old = retention.ended(session, before, pruned=True)
                for study in old:
                    deletion.mark(session, study.id, None, before)  # is removed at once
            remover.run(before)
            return old
        finally:
            storage.remove_session()
            storage.engine.dispose()


def back_up(settings: Settings, file: Path, now: datetime) -> int:
    """Write the database to a new file, as it is at one moment, and return its number of rows.

    Raises:
        DatabaseError: If the database cannot be reached, or has another schema.
        FileExistsAlreadyError: If the file exists.
    """
    if file.exists():
        raise FileExistsAlreadyError(file)
    unfinished = file.with_name(f".{file.name}.part")
    try:
        with _current(settings) as database:
            n_rows = backup.write(database, unfinished, now)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
    return n_rows


def restore(settings: Settings, file: Path) -> int:
    """Restore a backup into an empty database, upgrade it, and return its number of rows.

    Raises:
        DatabaseError: If the database is not empty or cannot be reached, or the file is no whole
            backup or of a newer version.
    """
    try:
        found = backup.header(file)
        if not migrate.is_known(found["schema"]):
            raise DatabaseError(
                f"{file} has schema {found['schema']}, which this version of gradnoise does not "
                f"know (its newest is {migrate.head()}): a newer version has written it, so "
                "install that version."
            )
        with _opened(settings) as database:
            with migrate.schema_lock(database):
                _check_empty(database, found["schema"])
                migrate.upgrade(database, found["schema"])
                search.prepare(settings.database)
                present = backup.optuna_revision(database)
                if present != found["optuna"]:
                    raise DatabaseError(
                        f"{file} has Optuna's schema {found['optuna']}, but the installed Optuna "
                        f"has {present}: install the Optuna of the backup, restore, then upgrade."
                    )
                n_rows = backup.load(database, file)
            prepare_database(settings.database)
    except BackupError as error:
        raise DatabaseError(str(error)) from None
    return n_rows


def cutoff(settings: Settings, days: int | None, now: datetime) -> datetime | None:
    """Return the time before which studies are old; None if no number of days is given or set."""
    keep = settings.keep if days is None else timedelta(days=days)
    return None if keep is None else now - keep


def _check_empty(database: Database, schema: str) -> None:
    if database.revision() not in (None, schema) or not backup.is_empty(database):
        raise DatabaseError(
            f"The database {database.url.render_as_string()} is not empty: restore into a new "
            "one, with another GRADNOISE_HOME or GRADNOISE_DATABASE_URL."
        )


@contextmanager
def _current(settings: Settings) -> Iterator[Database]:
    """Open a database that has the newest schema."""
    with _opened(settings) as database:
        if not migrate.is_current(database):
            raise DatabaseError("The schema is not the newest: run `gradnoise db upgrade`.")
        yield database


@contextmanager
def _opened(settings: Settings) -> Iterator[Database]:
    database = open_database(settings.database)
    try:
        database.ping()
    except Exception as error:  # whatever the driver raises
        lines = str(error).splitlines() or [type(error).__name__]
        raise DatabaseError(f"The database cannot be reached: {lines[0]}") from None
    try:
        yield database
    except migrate.UnknownSchemaError as error:
        raise DatabaseError(str(error)) from None
    finally:
        database.dispose()
