"""The same spec gives the same trials, choices and comparison, whatever it runs on."""

import itertools
import json
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from crashes import crash_repeatedly
from formula_launcher import FormulaLauncher, failure
from gradnoise.training.trial import TrialSpec
from gradnoise_service.compare.choosing import choices
from gradnoise_service.domain.errors import NothingToStopError
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.stopping import stop_of
from gradnoise_service.domain.study import Study
from gradnoise_service.search import Storage, open_storage
from gradnoise_service.store import leases, trials, verbs
from gradnoise_service.store.database import Database, open_database
from gradnoise_workers.launcher import LauncherEvent
from gradnoise_workers.study import Ledger, OptunaSync, PausedError, StudyRun
from postgres_server import PostgresServer
from shuffled_launcher import ShuffledLauncher
from study_runs import (
    ACCURACY,
    LEASE,
    ON_SQLITE,
    PROTOCOL,
    acquire,
    finish,
    optuna_trials,
    read,
    start,
    submit,
)

Make = Callable[..., StudySpec]

pytestmark = pytest.mark.usefixtures("without_reports")

SLOW = [
    ("random", "asha"),
    ("cmaes", "none"),
    ("gp", "median"),
    ("qmc", "asha"),
    ("grid", "median"),
    ("cmaes", "asha"),
]
CASES = [("tpe", "median"), *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]


def small_study(make_spec: Make, sampler: str, pruner: str, name: str) -> StudySpec:
    """Return a study of 9 search trials in each arm, some of which are pruned."""
    eta: dict[str, object] = {"low": 0.0, "high": 1.0, "step": 0.5}
    search = {
        "n_trials": 9,
        "epochs": 4,
        "sampler": sampler,
        "pruner": {"name": pruner, "startup_trials": 2, "reduction_factor": 2},
        "rerun": {"top": 2, "n_seeds": 3, "race": True},
    }
    lr = {"low": 0.003, "high": 0.3, "log": True}
    noise = {"eta": eta, "gamma": {"choices": [0.3, 0.55]}}
    return make_spec(
        name=name,
        search=search,
        space={"lr": {"choices": [0.1]} if sampler == "grid" else lr},
        arms=[
            {"name": "baseline", "technique": "none"},
            {"name": "noisy", "technique": "annealed", "space": noise},
        ],
        confirm={"n_seeds": 2},
    )


def answer(database: Database, study: Study) -> dict[str, object]:
    """Return what a study found: everything but durations and the description of its devices."""
    after, table = read(database, study)
    assert after.state == "complete"
    trials = {
        f"{t.phase} {t.arm} {t.number}": [t.seed, t.params, t.state, t.value, t.diverged, t.epochs]
        for t in table
    }
    chosen = choices(study.design, ACCURACY, table)
    numbers = {arm: choice and choice.trial.number for arm, choice in chosen.items()}
    comparison = json.loads(
        json.dumps(after.comparison),
        object_hook=lambda fields: {
            k: v for k, v in fields.items() if k not in ("device_seconds", "busy")
        },
    )
    return {"trials": trials, "chosen": numbers, "comparison": comparison}


@pytest.fixture
def undisturbed(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> dict[str, object]:
    """The answer of the study by TPE and the median pruner, one trial at a time; it is kept."""
    if not UNDISTURBED:
        study = submit(database, small_study(make_spec, "tpe", "median", "undisturbed"), now)
        finish(start(database, storage, FormulaLauncher(slots=1), now))
        UNDISTURBED.append(answer(database, study))
    return UNDISTURBED[0]


UNDISTURBED: list[dict[str, object]] = []


@ON_SQLITE
@pytest.mark.parametrize(("sampler", "pruner"), CASES)
def test_slots_workers_and_losses_do_not_change_the_answer(
    database: Database,
    storage: Storage,
    make_spec: Make,
    now: datetime,
    sampler: str,
    pruner: str,
) -> None:
    launchers = [
        FormulaLauncher(slots=1),
        ShuffledLauncher(1, slots=64),
        ShuffledLauncher(2, slots=6, workers=3, losses=20),
    ]
    answers = []
    for k, launcher in enumerate(launchers):
        study = submit(database, small_study(make_spec, sampler, pruner, f"study {k}"), now)
        finish(start(database, storage, launcher, now))
        answers.append(answer(database, study))
    assert answers[0] == answers[1] == answers[2]
    assert launchers[2]._losses < 20
    states = [trial[2] for trial in answers[0]["trials"].values()]
    assert ("pruned" in states) == (pruner != "none")
    # the formula differs by equal amounts on all seeds, so the race ends after 2 of them
    n_reruns = sum(name.startswith("rerun") for name in answers[0]["trials"])
    assert n_reruns == 2 * 2 * 2


class Uneven(FormulaLauncher):
    """Trains the noisy trials slowly, until confirm runs of the baseline train beside their search.

    Then the baseline trains slowly. A slow arm trains at every fifth call.

    Attributes:
        beside: The phases of the baseline and of the noisy arm that have trained at the same time.
    """

    def __init__(self) -> None:
        super().__init__(slots=40)
        self.n_calls = 0
        self.beside: set[tuple[str, str]] = set()

    def events(self, timeout_seconds: float) -> list[LauncherEvent]:
        self.n_calls += 1
        noisy = {spec.phase for spec in self.members.values() if "annealed" in spec.techniques}
        others = {s.phase for s in self.members.values() if "annealed" not in s.techniques}
        self.beside |= {(of_baseline, phase) for of_baseline in others for phase in noisy}
        is_slow_baseline = ("confirm", "search") in self.beside
        return [
            event
            for key, spec in list(self.members.items())
            if self.n_calls % 5 == 0 or is_slow_baseline == ("annealed" in spec.techniques)
            for event in self.train(key, spec)
        ]


@ON_SQLITE
@pytest.mark.parametrize("stops", [False, True])
def test_a_search_goes_on_to_its_reruns_and_confirm_runs_while_another_goes_on(
    database: Database, storage: Storage, make_spec: Make, now: datetime, stops: bool
) -> None:
    """The answer is that of one trial at a time; a stop finds the phase of the last search."""
    study = submit(database, small_study(make_spec, "random", "none", "in turn"), now)
    finish(start(database, storage, FormulaLauncher(slots=1), now))
    beside = submit(database, small_study(make_spec, "random", "none", "beside"), now)
    launcher = Uneven()
    run = start(database, storage, launcher, now)
    while not launcher.beside >= {("rerun", "search"), ("confirm", "search")}:
        run.step(0.0)
    with database.session() as session:
        assert (
            stop_of(
                read(database, beside)[0], trials.of_study(session, beside.id), now, confirms=True
            ).n
            == 9
        )
    while not launcher.beside >= {("confirm", "rerun")}:
        run.step(0.0)
    if not stops:
        finish(run)
        assert answer(database, beside) == answer(database, study)
        return
    with pytest.raises(NothingToStopError), database.session(write=True) as session:
        verbs.stop(session, beside.id, None, now, confirms=True)
    with database.session(write=True) as session:
        assert verbs.stop(session, beside.id, None, now, confirms=False).stops[0].phase == "rerun"
    finish(run)
    after, _ = read(database, beside)
    assert after.comparison is not None
    [difference] = after.comparison["differences"]  # type: ignore[misc]
    assert difference["no_verdict"] == {"kind": "stopped_early", "phase": "rerun"}
    assert {arm["search"]["n_declared"] for arm in after.comparison["arms"]} == {9}  # type: ignore[attr-defined]


@ON_SQLITE
@pytest.mark.slow
def test_crashes_at_any_write_do_not_change_the_answer(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    """Each of more than ten crashes is followed by a takeover with another order of the trials."""
    pruner = {"name": "median", "startup_trials": 1}
    search = {"n_trials": 5, "epochs": 2, "sampler": "cmaes", "lag": 2, "pruner": pruner}
    brief = {"search": search | {"rerun": {"n_seeds": 0}}, "confirm": {"n_seeds": 2}}
    study = submit(database, make_spec(name="undisturbed", **brief), now)
    finish(start(database, storage, FormulaLauncher(slots=1), now))
    killed = submit(database, make_spec(name="killed", **brief), now)
    seeds = itertools.count()
    crash_repeatedly(
        database,
        killed,
        now + timedelta(hours=1),
        5,
        lambda: ShuffledLauncher(next(seeds), slots=8, workers=2),
    )
    assert answer(database, killed) == answer(database, study)


def test_pauses_do_not_change_the_answer(
    database: Database,
    storage: Storage,
    make_spec: Make,
    now: datetime,
    undisturbed: dict[str, object],
) -> None:
    """Each is followed by a resumption with another number of slots and order of the trials."""
    paused = submit(database, small_study(make_spec, "tpe", "median", "paused"), now)
    n_pauses = 0
    while not run_until_paused(database, storage, paused, now, n_pauses):
        n_pauses += 1
        with database.session(write=True) as session:
            assert verbs.resume(session, paused.id, None, now).state == "queued"
    assert n_pauses > 5
    assert answer(database, paused) == undisturbed


@ON_SQLITE
@pytest.mark.parametrize("phase", ["search", "confirm"])
def test_a_retried_study_has_the_answer_of_one_that_did_not_fail(
    database: Database,
    storage: Storage,
    make_spec: Make,
    now: datetime,
    undisturbed: dict[str, object],
    phase: str,
) -> None:
    """Either its first trials failed, and the study with them, or some of its confirm runs."""

    def fail(trial: TrialSpec, epoch: int) -> LauncherEvent | None:
        is_noisy = "annealed" in trial.techniques
        return failure(trial) if is_noisy and trial.phase == phase else None

    retried = submit(database, small_study(make_spec, "tpe", "median", "retried"), now)
    finish(start(database, storage, FormulaLauncher(override=fail), now))
    failed, _ = read(database, retried)
    assert failed.state == ("failed" if phase == "search" else "complete")
    OptunaSync(failed, storage).cancel_running()
    with database.session(write=True) as session:
        verbs.retry(session, retried.id, None, now)
    finish(start(database, storage, FormulaLauncher(), now))
    assert answer(database, retried) == undisturbed
    assert_as_recorded(database, storage, retried)


def assert_as_recorded(database: Database, storage: Storage, study: Study) -> None:
    """Assert that Optuna has every stored trial, with its value."""
    _, table = read(database, study)
    with database.session() as session:
        numbers = trials.optuna_numbers(session, study.id)
    for key in study.design.search_keys:
        values = {t.number: t.value for t in optuna_trials(storage, study, key)}
        assert values == {
            numbers[t.id]: t.value
            for t in table
            if study.design.search_key(t.phase, t.arm, t.number) == key
        }


def run_until_paused(
    database: Database, storage: Storage, study: Study, now: datetime, seed: int
) -> bool:
    """Run a study for some steps, then pause it; return whether it has ended before."""
    held, lease = acquire(database, now)
    ledger = Ledger(
        database=database, study=held, lease=lease, lease_duration=LEASE, now=lambda: now
    )
    launcher = ShuffledLauncher(seed, slots=2 + seed % 5)
    run = StudyRun(ledger, OptunaSync(held, storage), launcher, PROTOCOL)
    run.resume()
    if any(run.step(0.0) for _ in range(4)):
        return True
    with database.session(write=True) as session:
        assert verbs.pause(session, study.id, None, now).state == "pausing"
    try:
        finish(run)
    except PausedError:
        pass
    else:
        return True  # nothing was left to start
    with database.session(write=True) as session:
        leases.release(session, lease, now)
    assert read(database, study)[0].state == "paused"
    return False


@pytest.mark.slow
@pytest.mark.postgres
def test_databases_do_not_change_the_answer(
    sqlite_template: Path,
    postgres_server: PostgresServer,
    postgres_template: str,
    tmp_path: Path,
    make_spec: Make,
    now: datetime,
) -> None:
    copy = shutil.copy(sqlite_template, tmp_path / "gradnoise.db")
    name = postgres_server.create(postgres_template)
    answers = []
    for seed, url in enumerate((f"sqlite:///{copy}", postgres_server.url(name))):
        database, storage = open_database(url), open_storage(url)
        study = submit(database, small_study(make_spec, "tpe", "asha", "a study"), now)
        finish(start(database, storage, ShuffledLauncher(seed, slots=4), now))
        answers.append(answer(database, study))
        storage.remove_session()
        storage.engine.dispose()
        database.dispose()
    postgres_server.drop(name)
    assert answers[0] == answers[1]
