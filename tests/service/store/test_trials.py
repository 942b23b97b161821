"""Trials are declared in one statement, and read by page, by recency and by state."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import pytest

from gradnoise_service.domain.design import Design
from gradnoise_service.domain.progress import TrialCounts
from gradnoise_service.domain.spec import Phase, StudySpec
from gradnoise_service.domain.study import Metric, Study, Trial
from gradnoise_service.domain.trial_errors import ArmError
from gradnoise_service.store import attempts, studies, trials, verbs
from gradnoise_service.store.database import Database, Session

Make = Callable[..., StudySpec]
BASELINE_ONLY = {"baseline": [{"lr": 0.1}]}


@pytest.fixture
def study(database: Database, make_spec: Make, now: datetime) -> Study:
    """A study with its search declared."""
    with database.session(write=True) as session:
        metric = Metric(name="accuracy", direction="maximize", worst=0.0)
        study = studies.submit(session, make_spec(), metric, owner="ada", now=now)
        trials.declare(session, study.id, study.design.trials("search"))
    return study


def of_phase(session: Session, study: Study, phase: Phase) -> list[Trial]:
    return [trial for trial in trials.of_study(session, study.id) if trial.phase == phase]


def test_repeated_declaration_has_no_effect(database: Database, study: Study) -> None:
    with database.session(write=True) as session:
        trials.declare(session, study.id, study.design.trials("search"))
        stored = trials.of_study(session, study.id)
    assert [(trial.arm, trial.number) for trial in stored] == [
        (arm, i) for arm in ("baseline", "noisy") for i in range(4)
    ]


def test_declaration_adds_missing_trials_only(database: Database, study: Study) -> None:
    design = study.design
    with database.session(write=True) as session:
        trials.declare(session, study.id, design.trials("confirm", BASELINE_ONLY))
        before = of_phase(session, study, "confirm")
        trials.declare(session, study.id, design.at(8).trials("confirm", BASELINE_ONLY))
        after = of_phase(session, study, "confirm")
    assert after[:5] == before
    assert [(trial.number, trial.seed) for trial in after] == [
        (i, design.seed("confirm", "noisy", i)) for i in range(8)
    ]


def test_declared_trials_are_stored_as_planned(
    database: Database, make_spec: Make, study: Study
) -> None:
    spec = make_spec(search={"n_trials": 4, "epochs": 3, "rerun": {"top": 2, "n_seeds": 3}})
    settings = {"baseline": [{"lr": 0.1}], "noisy": [{"lr": 0.2}, {"lr": 0.3}]}
    planned = Design.of(spec).trials("rerun", settings)
    with database.session(write=True) as session:
        trials.declare(session, study.id, planned)
        stored = of_phase(session, study, "rerun")
    assert {_identity(trial) for trial in stored} == {_identity(trial) for trial in planned}
    assert {trial.state for trial in stored} == {"waiting"}


def test_number_of_confirm_runs(database: Database, study: Study) -> None:
    with database.session(write=True) as session:
        assert trials.n_confirm_runs(session, study.id) == 0
        trials.declare(session, study.id, study.design.trials("confirm", BASELINE_ONLY))
        assert trials.n_confirm_runs(session, study.id) == 5


def test_pages_cover_all_trials_by_id_and_filter(database: Database, study: Study) -> None:
    with database.session() as session:
        first = trials.page(session, study.id, limit=3)
        rest = trials.page(session, study.id, after=first[-1].id, limit=100)
        noisy = trials.page(
            session, study.id, limit=100, arm="noisy", phase="search", state="waiting"
        )
        failed = trials.page(session, study.id, limit=100, state="failed")
    ids = [trial.id for trial in first + rest]
    assert len(ids) == 8
    assert ids == sorted(ids)
    assert {trial.arm for trial in noisy} == {"noisy"}
    assert failed == []


def test_latest_lists_running_trials_then_recently_ended(
    database: Database, study: Study, now: datetime
) -> None:
    with database.session(write=True) as session:
        first, second, third, fourth, *_ = _waiting_ids(session, study)
        for i, trial_id in enumerate((first, second)):
            token = attempts.start(session, trial_id, {}, 0, now)
            attempts.end(session, token, "complete", now + timedelta(seconds=i), value=0.5)
        attempts.start(session, third, {}, 0, now)
        token = attempts.start(session, fourth, {}, 0, now)
        attempts.retry(session, token, "failed", now, "boom")
        latest = [trial.id for trial in trials.latest(session, study.id, 9)]
        assert latest == [third, second, first, fourth]
        assert [trial.id for trial in trials.latest(session, study.id, 2)] == [third, second]


def test_open_trials_of_an_ended_study_are_cancelled(
    database: Database, study: Study, now: datetime
) -> None:
    with database.session(write=True) as session:
        first, second, *_ = _waiting_ids(session, study)
        token = attempts.start(session, first, {"lr": 0.1}, 0, now)
        attempts.end(session, token, "pruned", now, value=0.1)
        attempts.start(session, second, {"lr": 0.1}, 0, now)
        trials.cancel_open(session, study.id, now)  # the study has not ended
        assert _states(session, study) == {"pruned", "running", "waiting"}
        verbs.cancel(session, study.id, "ada", now)
        trials.cancel_open(session, study.id, now)
        states = [trial.state for trial in trials.of_study(session, study.id)]
    assert sorted(states) == ["cancelled"] * 7 + ["pruned"]


def test_counts_by_phase_arm_and_state(database: Database, study: Study, now: datetime) -> None:
    with database.session(write=True) as session:
        first, second, third, *_ = _waiting_ids(session, study)
        token = attempts.start(session, first, {"lr": 0.1}, 0, now)
        attempts.end(session, token, "complete", now, value=0.5)
        token = attempts.start(session, second, {"lr": 0.1}, 0, now)
        attempts.end(session, token, "failed", now, value=0.0, error="boom")
        token = attempts.start(session, third, {"lr": 0.2}, 1, now)
        attempts.add_cost(session, {token: (2, 1.5)})
        counts = {stored.arm: stored for stored in trials.counts(session, study)}
    assert counts["baseline"] == TrialCounts(
        phase="search",
        arm="baseline",
        n_trials=4,
        n_ended=1,
        n_ended_now=1,
        n_running=1,
        best_value=0.5,
        epochs_running=2,
    )
    assert counts["noisy"] == TrialCounts(
        phase="search", arm="noisy", n_trials=4, n_ended=1, n_ended_now=1, n_failed=1
    )


def test_the_first_error_of_an_arm_is_that_of_its_first_trial_that_has_not_succeeded(
    database: Database, study: Study, now: datetime
) -> None:
    with database.session(write=True) as session:
        trials.declare(session, study.id, study.design.trials("search"))
        waiting = attempts.waiting(session, study.id, "search")
        noisy = [each.trial for each in waiting if each.trial.arm == "noisy"]
        for number, (trial, fate) in enumerate(
            zip(noisy, ("succeeds", "fails", "repeats", "fails"), strict=True)
        ):
            token = attempts.start(session, trial.id, {"lr": 0.1}, number, now)
            if fate == "fails":
                attempts.end(session, token, "failed", now, value=0.0, error=f"KeyError: {number}")
                continue
            attempts.retry(session, token, "failed", now, "ValueError: at first")
            if fate == "succeeds":
                token = attempts.start(session, trial.id, {"lr": 0.1}, number, now)
                attempts.end(session, token, "complete", now, value=0.5)
        found = trials.first_errors(session, [study.id])
        assert trials.first_errors(session, []) == {}
    assert found == {
        study.id: (
            ArmError(
                arm="noisy",
                n_failed=2,
                phase="search",
                number=1,
                trial_id=noisy[1].id,
                error="KeyError: 1",
            ),
        )
    }


def _identity(trial: object) -> tuple[object, ...]:
    names: Sequence[str] = ("phase", "arm", "number", "seed", "budget_epochs")
    params = getattr(trial, "params")  # noqa: B009 - Trial and PlannedTrial alike
    return (*(getattr(trial, name) for name in names), str(params))


def _waiting_ids(session: Session, study: Study) -> list[int]:
    return [waiting.trial.id for waiting in attempts.waiting(session, study.id, "search")]


def _states(session: Session, study: Study) -> set[str]:
    return {trial.state for trial in trials.of_study(session, study.id)}
