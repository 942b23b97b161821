"""A session commits all of its changes or none, and reports a database that does not answer."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from gradnoise_service.domain.errors import CatalogueEmptyError, DatabaseUnavailableError
from gradnoise_service.store import catalogues
from gradnoise_service.store.database import Database, is_unavailable, open_database


def test_a_session_that_raises_commits_nothing(database: Database, now: datetime) -> None:
    def write_then_raise() -> None:
        with database.session(write=True) as session:
            catalogues.publish(session, {"versions": {}}, now)
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_then_raise()
    with database.session() as session, pytest.raises(CatalogueEmptyError):
        catalogues.read(session)


def test_ping_raises_if_the_database_is_unreachable(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("unreachable")
    database = Database(f"sqlite:///{folder}/no.db")
    folder.chmod(0o700)
    folder.joinpath("no.db").mkdir()  # a folder in place of the file
    with pytest.raises(Exception, match="unable to open"):
        database.ping()
    database.dispose()


@pytest.fixture
def silenced(request: pytest.FixtureRequest, database: Database) -> Callable[[], Any]:
    """A function that makes the database answer no writer in a block.

    PostgreSQL's processes are stopped; SQLite's write lock is held.
    """
    if not database.is_sqlite:
        return request.getfixturevalue("postgres_server").suspended  # type: ignore[no-any-return]

    @contextmanager
    def locked() -> Iterator[None]:
        with database.session(write=True) as session:
            session.connection()
            yield

    return locked


def test_database_that_does_not_answer_is_noticed(
    database_url: str, silenced: Callable[[], Any], now: datetime
) -> None:
    """The session before the silence leaves a connection in the pool; the one after it succeeds."""
    patient = open_database(database_url, patience_seconds=0.2)

    def publish() -> None:
        with patient.session(write=True) as session:
            catalogues.publish(session, {"versions": {}}, now)

    publish()
    with silenced():
        started_at = time.monotonic()
        with pytest.raises(DatabaseUnavailableError):
            publish()
        assert time.monotonic() - started_at < 20
    publish()
    patient.dispose()


def test_an_error_that_follows_from_a_lock_is_unavailability() -> None:
    """Optuna raises an error of its own from the driver's."""
    error = RuntimeError("the storage failed")
    assert not is_unavailable(error)
    error.__cause__ = OperationalError("INSERT", {}, Exception("database is locked"))
    assert is_unavailable(error)


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_ping_has_a_limit_of_its_own(database: Database, silenced: Callable[[], Any]) -> None:
    with silenced(), pytest.raises(Exception, match=r"did not answer|timeout"):
        database.ping()
    database.ping()
