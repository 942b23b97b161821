"""The searches take equal device time: costs are measured in the stacks that the search has."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from formula_launcher import FormulaLauncher, failure
from gradnoise.training.trial import Finished, TrialSpec
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric
from gradnoise_service.search import Storage
from gradnoise_service.store import leases, studies, trials
from gradnoise_service.store.calibrations import Calibration
from gradnoise_service.store.database import Database
from gradnoise_workers.calibration import Stacking
from gradnoise_workers.costs import MOST_EPOCHS, search_costs, search_stacks
from gradnoise_workers.driver import Driver
from gradnoise_workers.launcher import LauncherEvent, NotMeasuredError

Make = Callable[..., StudySpec]
ACCURACY = Metric(name="accuracy", direction="maximize", worst=0.0)
TIME = {"equal": "device_seconds"}
SEARCH = {"n_trials": 30, "epochs": 3, "rerun": {"n_seeds": 0}, "repeats": 1}


def no_interrupt() -> None:
    """Return without an interrupt."""


def stacking(**slots: int) -> Stacking:
    return Stacking(of_arms={arm: Calibration(slots=n) for arm, n in slots.items()})


class StackLauncher(FormulaLauncher):
    """A worker in which an epoch of a stack takes as long as three trials, and then each trial.

    A noisy trial takes twice as long as one of the baseline in a stack of the same size.
    """

    def events(self, timeout_seconds: float) -> Sequence[LauncherEvent]:
        self.n_of = Counter(spec.techniques for spec in self.members.values())
        return super().events(timeout_seconds)

    def train(self, key: str, spec: TrialSpec) -> Iterator[LauncherEvent]:
        n = min(self.n_of[spec.techniques], spec.together)
        share = 0.01 * (3 / n + 1)
        self.seconds = lambda trial: 2 * share if "annealed" in trial.techniques else share
        yield from super().train(key, spec)


@pytest.mark.parametrize(
    ("costs", "search", "slots", "n_slots", "expected"),
    [
        # on two workers, 8 of 30 trials at once; with a double cost 4 of 15
        ({}, {"sampler": "tpe"}, (16, 16), 64, (4, 4)),
        ({"baseline": 1, "noisy": 2}, {"sampler": "tpe"}, (16, 16), 64, (2, 2)),
        ({"baseline": 1, "noisy": 2}, {"sampler": "tpe", "repeats": 3}, (16, 16), 64, (6, 6)),
        ({"baseline": 1, "noisy": 2}, {"sampler": "random"}, (16, 16), 64, (8, 8)),
        # an arm that trains best alone; half of a worker's 16 slots for each arm
        ({}, {"sampler": "random"}, (16, 1), 64, (15, 1)),
        ({}, {"sampler": "random"}, (8, 8), 16, (8, 8)),
        # the arm with fewer trials than the lag starts them all at once
        ({"baseline": 1, "noisy": 10}, {"sampler": "tpe", "lag": 9}, (16, 16), 32, (3, 3)),
    ],
)
def test_no_stack_is_larger_than_the_arm_with_the_fewest_trials_has(
    make_spec: Make,
    costs: Mapping[str, float],
    search: Mapping[str, object],
    slots: tuple[int, int],
    n_slots: int,
    expected: tuple[int, int],
) -> None:
    design = Design.of(make_spec(budget=TIME, search=SEARCH | search), costs=costs)
    found = search_stacks(design, stacking(baseline=slots[0], noisy=slots[1]), n_slots)
    assert found == dict(zip(("baseline", "noisy"), expected, strict=True))


def test_each_arm_is_timed_in_the_stacks_of_its_search(make_spec: Make) -> None:
    """Of 30 trials, 8 start at once; of the 15 that cost twice as much in these stacks, 4."""
    launcher = StackLauncher(slots=16)
    spec = make_spec(budget=TIME, search=SEARCH | {"sampler": "tpe", "epochs": 50})
    found = search_costs(spec, launcher, stacking(baseline=8, noisy=8), no_interrupt)
    assert found == {"baseline": 1.0, "noisy": 2.0}
    assert Counter((trial.techniques[0], trial.together) for trial in launcher.admitted) == {
        ("none", 8): 8,
        ("annealed", 8): 8,
        ("none", 4): 4,
        ("annealed", 4): 4,
    }
    assert {trial.budget_epochs for trial in launcher.admitted} == {MOST_EPOCHS}
    assert launcher.members == {}


@pytest.mark.parametrize(("epochs", "noisy"), [(1, 4.0), (2, 1.0)])
def test_the_first_epoch_counts_only_if_there_is_no_other(
    make_spec: Make, epochs: int, noisy: float
) -> None:
    launcher = FormulaLauncher()

    def seconds(spec: TrialSpec) -> float:
        return 0.4 if "annealed" in spec.techniques and launcher.epochs[spec.key] == 1 else 0.1

    launcher.seconds = seconds
    spec = make_spec(budget=TIME, search=SEARCH | {"sampler": "random", "epochs": epochs})
    found = search_costs(spec, launcher, stacking(baseline=1, noisy=1), no_interrupt)
    assert found == {"baseline": 1.0, "noisy": noisy}


def test_a_trial_that_diverges_is_timed_and_one_that_fails_is_not(make_spec: Make) -> None:
    def diverge(spec: TrialSpec, epoch: int) -> Finished | None:
        if "annealed" in spec.techniques:
            return Finished(key=spec.key, diverged=True, seconds=0.1)
        return None

    launcher = FormulaLauncher(override=diverge)
    spec, alone = make_spec(budget=TIME), stacking(baseline=1, noisy=1)
    assert search_costs(spec, launcher, alone, no_interrupt) == {"baseline": 2.5, "noisy": 1.0}
    broken = FormulaLauncher(override=lambda spec, _: failure(spec))
    with pytest.raises(NotMeasuredError, match="no trial of baseline could be timed: ValueError"):
        search_costs(spec, broken, alone, no_interrupt)


def drive(database: Database, storage: Storage, spec: StudySpec, launcher: FormulaLauncher) -> None:
    now = datetime.now(UTC)
    with database.session(write=True) as session:
        studies.submit(session, spec, ACCURACY, owner="ada", now=now)
        acquired = leases.acquire(session, "d", now, timedelta(seconds=60))
    assert acquired is not None
    Driver(
        database=database,
        storage=storage,
        open_launcher=lambda _study, _source: launcher,
        slots=16,
        protocol={"versions": {}},
        lease=timedelta(seconds=60),
        now=lambda: datetime.now(UTC),
    ).drive(*acquired, threading.Event())


def test_the_searches_take_equal_device_time(
    database: Database, storage: Storage, make_spec: Make
) -> None:
    """Without equal stacks, the 8 noisy trials would take 1.4 times the time of the 16 others."""
    spec = make_spec(budget=TIME, search=SEARCH | {"n_trials": 16, "sampler": "tpe"})
    drive(database, storage, spec, StackLauncher(slots=16))
    with database.session() as session:
        study = studies.get(session, 1, None)
        stored = trials.of_study(session, study.id)
    assert study.state == "complete"
    assert study.protocol["search_costs"] == {"baseline": 1.0, "noisy": 2.0}
    searched = [trial for trial in stored if trial.phase == "search"]
    assert Counter(trial.arm for trial in searched) == {"baseline": 16, "noisy": 8}
    seconds = [
        sum(trial.device_seconds for trial in searched if trial.arm == arm)
        for arm in ("baseline", "noisy")
    ]
    assert max(seconds) / min(seconds) < 1.1
    assert study.comparison is not None
    kinds = [finding["kind"] for finding in study.comparison["findings"]]  # type: ignore[attr-defined]
    assert not {"unequal_budgets", "unequal_device_time"} & set(kinds)


def test_costs_that_cannot_be_measured_fail_the_study(
    database: Database, storage: Storage, make_spec: Make
) -> None:
    launcher = FormulaLauncher(override=lambda spec, _: failure(spec))
    drive(database, storage, make_spec(budget=TIME), launcher)
    with database.session() as session:
        study = studies.get(session, 1, None)
        assert trials.of_study(session, study.id) == []
    assert (study.state, study.error) == (
        "failed",
        "What a search trial costs could not be measured: no trial of baseline could be timed: "
        "ValueError: boom",
    )
