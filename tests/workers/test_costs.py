"""What a search trial costs is measured side by side, before the search, and held."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from formula_launcher import FormulaLauncher, failure
from gradnoise.training.trial import Finished, TrialSpec
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric
from gradnoise_service.search import Storage
from gradnoise_service.store import leases, studies, trials
from gradnoise_service.store.database import Database
from gradnoise_workers.costs import search_costs
from gradnoise_workers.driver import Driver
from gradnoise_workers.launcher import NotMeasuredError

Make = Callable[..., StudySpec]
ACCURACY = Metric(name="accuracy", direction="maximize", worst=0.0)
TIME = {"equal": "device_seconds"}


def no_interrupt() -> None:
    """Return without an interrupt."""


def seconds(spec: TrialSpec) -> float:
    """Return 0.25 s, for a noisy trial 1.6 times as much."""
    return 0.4 if "annealed" in spec.techniques else 0.25


@pytest.mark.parametrize(
    ("search", "copies"),
    [
        ({"sampler": "random"}, 3),  # of 5 slots
        ({"sampler": "random", "n_trials": 2}, 2),
        ({"sampler": "tpe", "lag": 1}, 2),  # trial 2 waits for trial 0
        ({"sampler": "tpe", "lag": 1, "repeats": 2}, 3),
    ],
)
def test_each_arm_is_timed_with_as_many_trials_as_its_searches_start_at_once(
    make_spec: Make, search: dict[str, object], copies: int
) -> None:
    launcher = FormulaLauncher(slots=5, seconds=seconds)
    spec = make_spec(budget=TIME, search={"n_trials": 4, "epochs": 3} | search)
    found = search_costs(spec, launcher, {"baseline": 2, "noisy": 1}, no_interrupt)
    assert found == {"baseline": 1.0, "noisy": 1.6}
    assert [trial.techniques[0] for trial in launcher.admitted] == ["none", "annealed"] * copies
    assert {trial.budget_epochs for trial in launcher.admitted} == {2}
    assert [trial.together for trial in launcher.admitted] == [2, 1] * copies
    assert len({trial.key for trial in launcher.admitted}) == 2 * copies
    assert launcher.members == {}


def test_a_trial_that_diverges_is_timed_and_one_that_fails_is_not(make_spec: Make) -> None:
    def diverge(spec: TrialSpec, epoch: int) -> Finished | None:
        if "annealed" in spec.techniques:
            return Finished(key=spec.key, diverged=True, seconds=0.1)
        return None

    launcher = FormulaLauncher(override=diverge)
    spec = make_spec(budget=TIME)
    assert search_costs(spec, launcher, {}, no_interrupt) == {"baseline": 2.5, "noisy": 1.0}
    broken = FormulaLauncher(override=lambda spec, _: failure(spec))
    with pytest.raises(NotMeasuredError, match="no trial of baseline could be timed: ValueError"):
        search_costs(spec, broken, {}, no_interrupt)


def drive(database: Database, storage: Storage, spec: StudySpec, launcher: FormulaLauncher) -> None:
    now = datetime.now(UTC)
    with database.session(write=True) as session:
        studies.submit(session, spec, ACCURACY, owner="ada", now=now)
        acquired = leases.acquire(session, "d", now, timedelta(seconds=60))
    assert acquired is not None
    Driver(
        database=database,
        storage=storage,
        open_launcher=lambda _source: launcher,
        slots=3,
        protocol={"versions": {}},
        device=lambda: "formula",
        lease=timedelta(seconds=60),
        now=lambda: datetime.now(UTC),
    ).drive(*acquired, threading.Event())


def test_the_searches_take_equal_device_time(
    database: Database, storage: Storage, make_spec: Make
) -> None:
    """A trial of the noisy arm costs 1.6 times as much: 10 / 1.6 = 6.25 trials."""
    search = {"n_trials": 10, "epochs": 4, "sampler": "random"}
    launcher = FormulaLauncher(seconds=seconds)
    drive(database, storage, make_spec(budget=TIME, search=search), launcher)
    with database.session() as session:
        study = studies.find(session, make_spec().name, None)
        stored = trials.of_study(session, study.id)
    assert study.state == "complete"
    assert study.protocol["search_costs"] == {"baseline": 1.0, "noisy": 1.6}
    searched = [trial for trial in stored if trial.phase == "search"]
    time = {
        arm: sum(trial.device_seconds for trial in searched if trial.arm == arm)
        for arm in ("baseline", "noisy")
    }
    assert time == {"baseline": pytest.approx(10 * 4 * 0.25), "noisy": pytest.approx(6 * 4 * 0.4)}
    assert study.comparison is not None
    kinds = [finding["kind"] for finding in study.comparison["findings"]]  # type: ignore[attr-defined]
    assert not {"unequal_budgets", "unequal_device_time"} & set(kinds)


def test_costs_that_cannot_be_measured_fail_the_study(
    database: Database, storage: Storage, make_spec: Make
) -> None:
    launcher = FormulaLauncher(override=lambda spec, _: failure(spec))
    drive(database, storage, make_spec(budget=TIME), launcher)
    with database.session() as session:
        study = studies.find(session, make_spec().name, None)
        assert trials.of_study(session, study.id) == []
    assert (study.state, study.error) == (
        "failed",
        "What a search trial costs could not be measured: no trial of baseline could be timed: "
        "ValueError: boom",
    )
