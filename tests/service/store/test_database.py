"""A session commits all of its changes or none."""

from datetime import datetime

import pytest

from gradnoise_service.domain.errors import CatalogueEmptyError
from gradnoise_service.store import catalogues
from gradnoise_service.store.database import Database


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
