"""A stopped study has the first trials of an undisturbed one, equally many in every arm."""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime

import pytest

from formula_launcher import FormulaLauncher
from gradnoise_service.domain.errors import NothingToStopError
from gradnoise_service.domain.spec import Phase, StudySpec
from gradnoise_service.domain.study import Study, Trial
from gradnoise_service.search import Storage
from gradnoise_service.store import studies, verbs
from gradnoise_service.store.database import Database
from study_runs import (
    assert_recorded,
    diverge_on,
    finish,
    grid,
    read,
    start,
    submit,
    three_arms,
)

Make = Callable[..., StudySpec]

pytestmark = pytest.mark.usefixtures("without_reports")

SEARCH = {
    "n_trials": 9,
    "epochs": 4,
    "pruner": {"name": "median", "startup_trials": 2},
    "rerun": {"top": 2, "n_seeds": 3, "race": True},
}
COSTS = {"equal": "device_seconds", "costs": {"baseline": 1, "noisy": 1.5}}
CASES: Mapping[str, tuple[dict[str, object], Phase, int]] = {
    "before a look": (three_arms(), "confirm", 15),
    "between looks": (three_arms(), "confirm", 3 * 8 + 2 * 4 + 1),
    "grid": (grid(n_seeds=6), "confirm", 15),
    "race": ({"search": SEARCH}, "rerun", 6),
    "searches": ({"search": SEARCH | {"repeats": 3}}, "search", 28),
    "equal device time": ({"search": SEARCH | {"repeats": 2}, "budget": COSTS}, "search", 14),
}
"""The fields of a study, and how many trials of a phase have started when it is stopped."""
N_PAIRS: Mapping[str, set[int]] = {
    "before a look": {5},
    "between looks": {8, 12},
    "grid": {6},
    "race": {0},
    "searches": {0},
    "equal device time": {0},
}
"""The pairs of runs of each difference then; an arm is dropped at the first look."""


def of_phase(table: list[Trial], phase: Phase) -> list[Trial]:
    return [trial for trial in table if trial.phase == phase]


def stopped_study(
    database: Database,
    storage: Storage,
    spec: StudySpec,
    now: datetime,
    phase: Phase,
    n_started: int,
    *,
    confirms: bool = False,
) -> Study:
    """Run a study until so many trials of a phase have started, stop it and run it to its end."""
    study = submit(database, spec, now)
    with pytest.raises(NothingToStopError), database.session(write=True) as session:
        verbs.stop(session, study.id, None, now, confirms=confirms)
    launcher = FormulaLauncher(slots=3, override=diverge_on(spec, 0))
    run = start(database, storage, launcher, now)
    while sum(t.n_attempts > 0 for t in of_phase(read(database, study)[1], phase)) < n_started:
        assert not run.step(0.0)
    with database.session(write=True) as session:
        first = verbs.stop(session, study.id, None, now, confirms=confirms)
        assert verbs.stop(session, study.id, None, now, confirms=confirms) == first
    assert first.state == ("running" if confirms else "stopping")
    finish(run)
    return read(database, study)[0]


@pytest.mark.parametrize("case", CASES)
def test_a_stop_keeps_the_first_trials_of_every_arm(
    database: Database, storage: Storage, make_spec: Make, now: datetime, case: str
) -> None:
    fields, phase, n_started = CASES[case]
    spec = make_spec(name="undisturbed", **fields)
    study = submit(database, spec, now)
    finish(start(database, storage, FormulaLauncher(override=diverge_on(spec, 0)), now))
    undisturbed = {(t.phase, t.arm, t.number): t for t in read(database, study)[1]}
    spec = make_spec(name="stopped", **fields)
    after = stopped_study(database, storage, spec, now, phase, n_started)
    _, table = read(database, after)
    [stop] = after.stops
    assert (after.state, stop.phase) == ("complete", phase)
    for trial in table:
        same = undisturbed[trial.phase, trial.arm, trial.number]
        assert (trial.seed, trial.params, trial.state) == (same.seed, same.params, same.state)
        assert (trial.value, trial.diverged) == (same.value, same.diverged)
    assert_recorded(database, storage, after)
    assert {d["n"] for d in after.comparison["differences"]} == N_PAIRS[case]  # type: ignore[attr-defined,index]
    design = after.design
    counted = Counter(
        (t.arm, design.place(phase, t.arm, t.number)[0])
        for t in of_phase(table, phase)
        if phase != "rerun" and design.counts(phase, t.arm, t.number)
    )
    if phase == "search":
        assert 0 < stop.n < stop.n_declared
        assert set(counted.values()) == {design.n_searched(arm.name) for arm in design.spec.arms}
        assert len(counted) == 2 * design.n_repeats


def test_a_stopped_search_is_confirmed_if_that_was_requested(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    spec = make_spec(search=SEARCH | {"repeats": 3}, confirm={"n_seeds": 6})
    after = stopped_study(database, storage, spec, now, "search", 28, confirms=True)
    _, table = read(database, after)
    [stop] = after.stops
    assert (after.state, after.verdict, stop.confirms) == ("complete", "undecided", True)
    n_trials = Counter((t.phase, t.arm) for t in table)
    for arm in ("baseline", "noisy"):
        assert n_trials["search", arm] >= 3 * stop.n
        assert n_trials["confirm", arm] == 6
        # of 2 settings of each search, the race runs each on 2 or 3 seeds
        assert 3 * 2 * 2 <= n_trials["rerun", arm] <= 3 * 2 * 3
    assert_recorded(database, storage, after)


def test_a_stopped_confirm_phase_decides_on_the_seeds_of_every_arm(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    """The study can be extended, and the error probability includes every number of seeds."""
    study = submit(database, make_spec(confirm={"n_seeds": 30}), now)
    run = start(database, storage, FormulaLauncher(slots=3), now)
    while sum(t.phase == "confirm" and t.has_ended for t in read(database, study)[1]) < 19:
        run.step(0.0)
    with pytest.raises(NothingToStopError), database.session(write=True) as session:
        verbs.stop(session, study.id, None, now, confirms=True)
    with database.session(write=True) as session:
        assert verbs.stop(session, study.id, None, now, confirms=False).state == "stopping"
    finish(run)
    after, table = read(database, study)
    [stop] = after.stops
    assert (after.state, after.verdict, stop.phase, stop.n_declared) == (
        "complete",
        "helps",
        "confirm",
        30,
    )
    n_runs = Counter(t.arm for t in table if t.phase == "confirm")
    assert stop.n == min(n_runs.values()) == after.design.n_seeds
    assert after.comparison is not None
    assert after.comparison["is_final"]
    assert 0.2 < after.design.false_verdict_chance < 0.3
    with database.session(write=True) as session:
        extended = studies.extend(session, study.id, None, 4, max_trials=999, now=now)
    assert extended.design.n_seeds == stop.n + 4
    finish(start(database, storage, FormulaLauncher(slots=3), now))
    again, table = read(database, study)
    assert Counter(t.arm for t in table if t.phase == "confirm") == {
        "baseline": stop.n + 4,
        "noisy": stop.n + 4,
    }
    assert (again.state, again.verdict) == ("complete", "helps")
    assert again.design.false_verdict_chance > 0.2
