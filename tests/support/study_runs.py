"""Runs of whole studies on formulas: functions that submit, run, read and check them."""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import optuna
import pytest
from optuna.trial import FrozenTrial

from gradnoise.training.files import Files
from gradnoise.training.trial import Finished, TrialSpec
from gradnoise_service.compare.choosing import finalists
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.search_key import SearchKey
from gradnoise_service.domain.space import label
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Study, Trial
from gradnoise_service.search import Storage
from gradnoise_service.store import leases, studies, trials
from gradnoise_service.store.database import Database
from gradnoise_service.store.leases import Lease
from gradnoise_workers.launcher import Launcher, LauncherEvent
from gradnoise_workers.study import Ledger, OptunaSync, StudyRun

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For runs of the phases; those of the ledger, the driver and the store are on both databases."""
LEASE = timedelta(seconds=30)
ACCURACY = Metric(name="accuracy", direction="maximize", worst=0.0)
PROTOCOL = {"formula": "sigma_t^2 = eta / (1 + t)^gamma", "versions": {}}
LOOKS = {"n_seeds": 20, "looks": [7, 16], "boundary": "pocock"}


def submit(database: Database, spec: StudySpec, now: datetime, metric: Metric = ACCURACY) -> Study:
    with database.session(write=True) as session:
        return studies.submit(session, spec, metric, owner="ada", now=now)


def acquire(database: Database, now: datetime) -> tuple[Study, Lease]:
    with database.session(write=True) as session:
        acquired = leases.acquire(session, "d", now, LEASE)
    assert acquired is not None
    return acquired


def start(
    database: Database,
    storage: Storage,
    launcher: Launcher,
    now: datetime,
    files: Files | None = None,
) -> StudyRun:
    """Acquire the next due study and return its run, ready to step."""
    study, lease = acquire(database, now)
    ledger = Ledger(
        database=database, study=study, lease=lease, lease_duration=LEASE, now=lambda: now
    )
    run = StudyRun(ledger, OptunaSync(study, storage), launcher, PROTOCOL, files=files)
    run.resume()
    return run


def finish(run: StudyRun) -> None:
    for _ in range(10_000):
        if run.step(0.0):
            return
    pytest.fail("the study did not end")


def read(database: Database, study: Study) -> tuple[Study, list[Trial]]:
    with database.session() as session:
        return studies.get(session, study.id, None), trials.of_study(session, study.id)


def optuna_trials(storage: Storage, study: Study, key: SearchKey) -> list[FrozenTrial]:
    """Return the trials as Optuna stores them."""
    return optuna.load_study(study_name=study.search_name(key), storage=storage).trials


def assert_exactly_as_declared(
    database: Database,
    storage: Storage,
    study: Study,
    n_seeds: int | None = None,
    dropped_at: Mapping[str, int] | None = None,
) -> None:
    """Assert that every declared trial ended once, and that Optuna holds the same trials alone.

    `n_seeds` is the number of confirm seeds at which a look ended the study, `dropped_at` that of
    the arms that stopped before.
    """
    after, stored = read(database, study)
    assert after.has_ended
    design = after.design.at(n_seeds) if n_seeds else after.design
    counts = Counter((trial.phase, trial.arm) for trial in stored)
    n_finalists = Counter(
        trial.arm
        for repeat in range(design.n_repeats)
        for best in finalists(design, study.metric, stored, repeat).values()
        for trial in best
    )
    expected = {
        (phase, arm.name): design.n_trials(phase, arm.name)
        for phase in design.phases
        for arm in design.spec.arms
    }
    expected |= {("confirm", arm): n for arm, n in (dropped_at or {}).items()}
    if "rerun" in design.phases:
        n = design.spec.search.rerun.n_seeds
        expected |= {("rerun", arm): n_finalists[arm] * n for arm in n_finalists}
    assert counts == expected
    assert all(trial.has_ended for trial in stored)
    assert_recorded(database, storage, study)


def assert_recorded(database: Database, storage: Storage, study: Study) -> None:
    """Assert that Optuna holds the trials of a study, and no others, as they have ended."""
    after, stored = read(database, study)
    design = after.design
    with database.session() as session:
        numbers = trials.optuna_numbers(session, study.id)
    for key in design.search_keys:
        stored_by_number = {
            numbers[trial.id]: trial
            for trial in stored
            if design.search_key(trial.phase, trial.arm, trial.number) == key
        }
        recorded_trials = optuna_trials(storage, study, key)
        assert (
            sorted(stored_by_number)
            == [trial.number for trial in recorded_trials]
            == list(range(len(recorded_trials)))
        )
        for number, trial in stored_by_number.items():
            assert_same_trial(trial, recorded_trials[number])


def assert_same_trial(trial: Trial, recorded: FrozenTrial) -> None:
    """Assert that Optuna has the trial's seed, parameters, state and value."""
    assert recorded.user_attrs["seed"] == trial.seed
    assert trial.params is not None
    labels = {name: label(value) for name, value in trial.params.items()}
    assert recorded.params.items() <= labels.items()
    is_lost = trial.state == "failed" or "lost" in recorded.user_attrs
    assert trial.state == "failed" or trial.diverged or not is_lost
    states = {"complete": "COMPLETE", "pruned": "PRUNED"}
    assert recorded.state.name == ("FAIL" if is_lost else states[trial.state])
    assert recorded.value == (None if is_lost else trial.value)


def three_arms(**changes: object) -> dict[str, object]:
    """Return the fields of a study with looks of which the arm `plain` equals the baseline.

    With `diverge_on(spec, 0)` a run of `noisy` diverges: it is undecided at the first look.
    """
    noise = {"eta": 0.3, "gamma": 0.55}
    return {
        "arms": [
            {"name": "baseline", "technique": "none"},
            {"name": "plain", "technique": "constant", "space": {"eta": 0.3}},
            {"name": "noisy", "technique": "annealed", "space": noise},
        ],
        "search": {"n_trials": 1, "epochs": 1, "sampler": "random", "rerun": {"n_seeds": 0}},
        "space": {"lr": 0.1},
        "confirm": {"n_seeds": 24, "looks": [8, 18], "boundary": "pocock"} | changes,
    }


def diverge_on(spec: StudySpec, *numbers: int) -> Callable[[TrialSpec, int], LauncherEvent | None]:
    """Return an override by which the noisy runs on these confirm seeds diverge.

    Without a diverged run all differences would be equal.
    """
    lost = {Design.of(spec).seed("confirm", "noisy", i) for i in numbers}

    def override(trial: TrialSpec, epoch: int) -> LauncherEvent | None:
        is_lost = trial.techniques == ("annealed",) and trial.seed in lost
        return Finished(key=trial.key, diverged=True, seconds=0.1) if is_lost else None

    return override


def grid(n_seeds: int = 3, **changes: object) -> dict[str, object]:
    """Return the fields of a study without a search.

    It runs two learning rates on every seed, so it has 2 x n_seeds pairs.
    """
    arms = [
        {"name": "baseline", "technique": "none"},
        {"name": "noisy", "technique": "annealed", "space": {"eta": 0.3, "gamma": 0.55}},
    ]
    space = {"lr": {"choices": [0.01, 0.1]}, "momentum": 0.9}
    return {
        "search": None,
        "arms": arms,
        "space": space,
        "confirm": {"n_seeds": n_seeds, "epochs": 2} | changes,
    }


def assert_whole_grid(database: Database, storage: Storage, study: Study, n_seeds: int) -> None:
    """Assert that every arm ran every setting on every seed once, also according to Optuna."""
    after, stored = read(database, study)
    assert after.has_ended
    planned = after.design.at(n_seeds).trials("confirm")
    by_number = {(trial.arm, trial.number): trial for trial in planned}
    assert {(trial.arm, trial.number) for trial in stored} == set(by_number)
    for trial in stored:
        plan = by_number[trial.arm, trial.number]
        assert (trial.params, trial.seed, trial.budget_epochs) == (plan.params, plan.seed, 2)
    with database.session() as session:
        numbers = trials.optuna_numbers(session, study.id)
    recorded_trials = optuna_trials(storage, study, SearchKey(phase="confirm"))
    assert (
        sorted(numbers.values()) == [t.number for t in recorded_trials] == list(range(len(stored)))
    )
    for trial in stored:
        recorded = recorded_trials[numbers[trial.id]]
        assert recorded.user_attrs["arm"] == trial.arm
        assert_same_trial(trial, recorded)
