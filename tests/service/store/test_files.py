"""A trial has one file of a name, which later attempts replace."""

from collections.abc import Callable
from datetime import datetime

import pytest

from gradnoise_service.domain.errors import NotFoundError
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, TrialFile
from gradnoise_service.store import attempts, files, studies, trials
from gradnoise_service.store.database import Database


def test_files_are_listed_by_trial_and_name(
    database: Database, make_spec: Callable[..., StudySpec], now: datetime
) -> None:
    metric = Metric(name="accuracy", direction="maximize", worst=0.0)
    with database.session(write=True) as session:
        study = studies.submit(session, make_spec(), metric, owner="ada", now=now)
        other = studies.submit(session, make_spec(name="other"), metric, owner="ada", now=now)
        trials.declare(session, study.id, study.design.trials("search"))
        first, second, *_ = [w.trial.id for w in attempts.waiting(session, study.id, "search")]

        def file(trial_id: int, name: str, n_bytes: int) -> TrialFile:
            return TrialFile(trial_id=trial_id, name=name, n_bytes=n_bytes, sha256="0" * 64)

        files.record(session, [file(second, "b", 1), file(first, "z", 2**40)], now)
        files.record(session, [file(first, "a", 3), file(second, "b", 4)], now)
    with database.session() as session:
        found = files.of_study(session, study.id)
        assert [(each.trial, each.name, each.n_bytes) for each in found] == [
            ("search/baseline/0", "a", 3),
            ("search/baseline/0", "z", 2**40),
            ("search/noisy/0", "b", 4),
        ]
        assert files.of_study(session, study.id, second) == found[2:]
        assert files.of_study(session, other.id) == []
        assert files.get(session, study.id, first, "z") == found[1]
        for study_id, trial_id, name in ((study.id, first, "b"), (other.id, second, "b")):
            with pytest.raises(NotFoundError):
                files.get(session, study_id, trial_id, name)
