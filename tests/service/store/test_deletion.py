"""A deleted study is found no longer, and leaves no row."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select

from gradnoise_service.domain.errors import InvalidSpecError, NotFoundError, StudyRunningError
from gradnoise_service.domain.source import Source
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Measurement, Metric, Study, TrialFile
from gradnoise_service.store import (
    attempts,
    deletion,
    files,
    leases,
    logs,
    measurements,
    sources,
    studies,
    trials,
)
from gradnoise_service.store.database import Database, Session
from gradnoise_service.store.tables import Base

Make = Callable[..., StudySpec]
METRIC = Metric(name="accuracy", direction="maximize", worst=0.0)
SOURCE = Source(name="mine.py", files={"mine.py": "x = 1"}, folder="/home/ada", announced={})


def submit(session: Session, spec: StudySpec, now: datetime) -> Study:
    source = None if spec.source is None else sources.find(session, spec.source, "ada")
    return studies.submit(session, spec, METRIC, owner="ada", now=now, source=source)


def n_rows(session: Session) -> dict[str, int]:
    """Return the number of rows of each table that has any."""
    counts = {
        table.name.removeprefix("gradnoise_"): session.scalar(
            select(func.count()).select_from(table)
        )
        for table in Base.metadata.sorted_tables
    }
    return {name: n for name, n in counts.items() if n}


def test_a_deleted_study_leaves_nothing(database: Database, make_spec: Make, now: datetime) -> None:
    """Its source stays until the last study that has it is deleted."""
    with database.session(write=True) as session:
        sources.keep(session, SOURCE, owner="ada", now=now)
        first = submit(session, make_spec(source=SOURCE.hash), now)
        second = submit(session, make_spec(source=SOURCE.hash, name="second"), now)
        untouched = n_rows(session)
        assert untouched == {"source": 1, "study": 2}
        acquired = leases.acquire(session, "d", now, timedelta(seconds=30))
        assert acquired is not None
        trials.declare(session, first.id, first.design.trials("search"))
        trial = attempts.waiting(session, first.id, "search")[0].trial
        token = attempts.start(session, trial.id, {"lr": 0.1}, 0, now)
        measured = Measurement(trial_id=trial.id, epoch=1, values={"accuracy": 0.5}, seconds=1.0)
        measurements.record(session, [measured])
        logs.record(session, first.id, [logs.NewText(token=token, position=0, text="hello")], 99)
        file = TrialFile(trial_id=trial.id, name="weights.pt", n_bytes=1, sha256="0" * 64)
        files.record(session, [file], now)
        assert n_rows(session).keys() == {
            *("source", "study", "trial", "attempt", "measurement", "log", "file")
        }
        with pytest.raises(StudyRunningError, match="is running"):
            deletion.mark(session, first.id, "ada", now)
        leases.fail(session, acquired[1], now, "boom")
        with pytest.raises(NotFoundError):
            deletion.mark(session, first.id, "bob", now)
    with database.session(write=True) as session:
        deletion.mark(session, first.id, "ada", now)
    with database.session(write=True) as session:
        deletion.mark(session, first.id, "ada", now + timedelta(days=1))
        with pytest.raises(NotFoundError):
            deletion.mark(session, first.id, "bob", now)
        assert studies.unsettled(session, now) == []
        assert studies.page(session, owner=None, before=None, limit=9) == [second]
        assert deletion.marked(session, now - timedelta(seconds=1)) == []
        assert [study.spec for study in deletion.marked(session, now)] == [first.spec]
        assert [deletion.remove_trials(session, first.id, 5) for _ in range(3)] == [5, 3, 0]
        deletion.remove(session, first.id)
        assert n_rows(session) == {"source": 1, "study": 1}
    with database.session(write=True) as session:
        # the name is free, the id is not used again
        assert submit(session, make_spec(), now).id > second.id
        deletion.mark(session, second.id, None, now)
        deletion.remove(session, second.id)
        with pytest.raises(NotFoundError):
            deletion.mark(session, second.id, None, now)
        with pytest.raises(InvalidSpecError, match="no code with this hash"):
            sources.find(session, SOURCE.hash, "ada")
