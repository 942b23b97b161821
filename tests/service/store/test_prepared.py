"""A prepared statement returns what SQLAlchemy's execution of it returns."""

from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import bindparam, func, select

from gradnoise_service.domain.errors import DatabaseUnavailableError, NameTakenError
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric
from gradnoise_service.store import studies
from gradnoise_service.store.database import Database, open_database
from gradnoise_service.store.prepared import Prepared
from gradnoise_service.store.tables import STUDY, StudyRow

UNTIL = bindparam("until", type_=STUDY.c.created_at.type)
SUBMITTED = select(STUDY, func.length(STUDY.c.name) + 1).where(STUDY.c.created_at <= UNTIL)


@pytest.fixture
def study_id(
    database: Database, make_spec: Callable[..., StudySpec], accuracy: Metric, now: datetime
) -> int:
    with database.session(write=True) as session:
        return studies.submit(session, make_spec(), accuracy, owner="ada", now=now).id


@pytest.mark.usefixtures("study_id")
def test_rows_have_the_values_and_names_of_sqlalchemy(database: Database, now: datetime) -> None:
    """Times, JSON and truth values among them; also in a transaction of the driver."""
    prepared = Prepared(SUBMITTED)
    with database.session() as session:
        (expected,) = session.execute(SUBMITTED, {"until": now}).all()
        for _ in range(2):
            (row,) = prepared.rows(session, until=now)
            assert tuple(row) == tuple(expected)
        assert (row.created_at, row.is_settled, row.spec) == (now, True, expected.spec)
    with database.transaction() as transaction:
        assert prepared.first(transaction, until=now) == row
        assert prepared.first(transaction, until=datetime.min.replace(tzinfo=now.tzinfo)) is None


def test_changes_of_the_session_are_seen(database: Database, study_id: int, now: datetime) -> None:
    with database.session(write=True) as session:
        session.get_one(StudyRow, study_id).note = "changed"
        assert Prepared(SUBMITTED).first(session, until=now).note == "changed"


def test_a_transaction_of_the_driver_commits_or_leaves_nothing_behind(
    database: Database, make_spec: Callable[..., StudySpec], accuracy: Metric, now: datetime
) -> None:
    """Its connection is used again, whether its block ended or raised."""

    def submit(name: str, then: Callable[[], object] = lambda: None) -> None:
        with database.transaction(write=True) as transaction:
            studies.submit(transaction, make_spec(name=name), accuracy, owner="ada", now=now)
            then()

    for _ in range(20):  # more than the pool has connections
        with pytest.raises(ZeroDivisionError):
            submit("failed", lambda: 1 / 0)
    submit("stored")
    with pytest.raises(NameTakenError):
        submit("stored")
    with database.transaction(write=True) as transaction:
        studies.submit(transaction, make_spec(name="dry"), accuracy, owner="ada", now=now)
        transaction.rollback()
    with database.transaction() as transaction:
        found = studies.page(transaction, owner="ada", before=None, limit=9)
    assert [study.spec.name for study in found] == ["stored"]


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
@pytest.mark.parametrize("kind", ["session", "transaction"])
def test_a_database_that_does_not_answer_is_noticed(
    database_url: str, study_id: int, kind: str, postgres_server: Any
) -> None:
    """In the middle of a transaction too; the next transaction succeeds."""
    patient = open_database(database_url, patience_seconds=0.2)

    def describe(then: Callable[[], Any] = lambda: None) -> None:
        with patient.session() if kind == "session" else patient.transaction() as transaction:
            studies.describe(transaction, study_id, None)
            then()
            studies.describe(transaction, study_id, None)

    with ExitStack() as stack:
        with pytest.raises(DatabaseUnavailableError):
            describe(lambda: stack.enter_context(postgres_server.suspended()))
        with pytest.raises(DatabaseUnavailableError):
            describe()
    describe()
    patient.dispose()
