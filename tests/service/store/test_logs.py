"""What attempts print is stored in order, within bounds, and under their lease alone."""

from collections.abc import Callable
from datetime import datetime

import pytest
from sqlalchemy import func, select

from gradnoise_service.domain.errors import LeaseLostError
from gradnoise_service.domain.log import joined
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric
from gradnoise_service.store import attempts, logs, studies, trials
from gradnoise_service.store.database import Database, Session
from gradnoise_service.store.logs import NewText
from gradnoise_service.store.tables import LogRow


@pytest.fixture
def running(
    database: Database, make_spec: Callable[..., StudySpec], now: datetime
) -> tuple[int, list[int], list[str]]:
    """The id of a study, with the ids and tokens of two trials that run."""
    with database.session(write=True) as session:
        metric = Metric(name="accuracy", direction="maximize", worst=0.0)
        study = studies.submit(session, make_spec(), metric, owner="ada", now=now)
        trials.declare(session, study.id, study.design.trials("search"))
        ids = [w.trial.id for w in attempts.waiting(session, study.id, "search")[:2]]
        tokens = [attempts.start(session, id, {"lr": 0.1}, 0, now) for id in ids]
    return study.id, ids, tokens


def test_each_attempt_has_a_log_of_its_own_and_the_study_all_in_order(
    database: Database, running: tuple[int, list[int], list[str]], now: datetime
) -> None:
    study_id, (first, second), (token, other) = running
    with database.session(write=True) as session:
        for new in (
            NewText(token=token, position=0, text="a\n"),
            NewText(token=other, position=0, text="x\x1b[2J\x00\n"),
            NewText(token=token, position=2, text="b\n"),
        ):
            logs.record(session, study_id, [new], 100)
        attempts.retry(session, token, "failed", now, "boom")
        again = attempts.start(session, first, {"lr": 0.1}, 0, now)
        logs.record(session, study_id, [NewText(token=again, position=0, text="a\n")], 100)
    with database.session() as session:
        of_first = logs.of_trial(session, first)
        pieces = logs.page(session, study_id, after=0, limit=3)
        rest = logs.page(session, study_id, after=pieces[-1].id, limit=3)
        of_second = logs.page(session, study_id, after=0, limit=9, trial_id=second)
    assert {number: joined(of_attempt) for number, of_attempt in of_first.items()} == {
        1: "a\nb\n",
        2: "a\n",
    }
    assert [piece.text for piece in (*pieces, *rest)] == ["a\n", "x�[2J�\n", "b\n", "a\n"]
    assert [(piece.trial, piece.attempt) for piece in rest] == [("search/baseline/0", 2)]
    assert [piece.text for piece in of_second] == ["x�[2J�\n"]


def test_the_first_and_the_last_characters_of_an_attempt_are_kept(
    database: Database, running: tuple[int, list[int], list[str]]
) -> None:
    study_id, (trial_id, _), (token, _) = running
    lines = [f"{i:9}\n" for i in range(400)]
    with database.session(write=True) as session:
        for i, line in enumerate(lines):
            logs.record(session, study_id, [NewText(token=token, position=10 * i, text=line)], 200)
        stored = session.scalar(select(func.sum(func.length(LogRow.text))))
        found = joined(logs.of_trial(session, trial_id)[1])
    assert stored == 400
    assert found == "".join([*lines[:20], "[3600 characters left out]\n", *lines[-20:]])


def test_a_long_text_is_stored_in_its_bounds(
    database: Database, running: tuple[int, list[int], list[str]]
) -> None:
    study_id, (trial_id, _), (token, _) = running
    text = "".join(f"{i:9}\n" for i in range(400))
    with database.session(write=True) as session:
        logs.record(session, study_id, [NewText(token=token, position=0, text=text)], 15)
        found = joined(logs.of_trial(session, trial_id)[1])
    assert found == f"{text[:15]}[3970 characters left out]\n{text[-15:]}"


def test_a_late_text_of_an_earlier_attempt_is_refused_with_its_cost(
    database: Database, running: tuple[int, list[int], list[str]], now: datetime
) -> None:
    """The cost is written first in the same transaction, so nothing is stored."""
    study_id, (trial_id, _), (token, _) = running
    with database.session(write=True) as session:
        attempts.retry(session, token, "worker_lost", now, "gone")

    def write(session: Session) -> None:
        attempts.add_cost(session, {token: (0, 0.0)})
        logs.record(session, study_id, [NewText(token=token, position=0, text="late")], 100)

    with pytest.raises(LeaseLostError), database.session(write=True) as session:
        write(session)
    with database.session() as session:
        assert logs.of_trial(session, trial_id) == {}
