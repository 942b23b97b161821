"""A study runs to its comparison with exactly its declared trials, whatever fails and wherever it
is interrupted.
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna_dashboard import get_note
from sqlalchemy import Engine, event

from formula_launcher import FormulaLauncher, accuracy, fails
from gradnoise.training.trial import Finished, Measurement, TrialSpec
from gradnoise_service.compare import choose, finalists
from gradnoise_service.domain.errors import InvalidSpecError, LeaseLostError
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Study
from gradnoise_service.search import Storage, open_storage
from gradnoise_service.store import leases, measurements, studies, trials
from gradnoise_service.store.database import Database, Session
from gradnoise_service.store.leases import Lease
from gradnoise_workers.launcher import Launcher, News, WorkerLost
from gradnoise_workers.study_run import StudyRun

Make = Callable[..., StudySpec]
LEASE = timedelta(seconds=30)
ACCURACY = Metric(name="accuracy", direction="maximize", worst=0.0)
PROTOCOL = {"formula": "sigma_t^2 = eta / (1 + t)^gamma", "versions": {}}


def submit(database: Database, spec: StudySpec, now: datetime, metric: Metric = ACCURACY) -> Study:
    with database.session(write=True) as session:
        return studies.submit(session, spec, metric, owner="ada", now=now)


def take(database: Database, now: datetime) -> tuple[Study, Lease]:
    with database.session(write=True) as session:
        acquired = leases.acquire(session, "d", now, LEASE)
    assert acquired is not None
    return acquired


def begin(database: Database, storage: Storage, launcher: Launcher, now: datetime) -> StudyRun:
    study, lease = take(database, now)
    run = StudyRun(
        study,
        lease,
        database=database,
        storage=storage,
        launcher=launcher,
        protocol=PROTOCOL,
        lease_duration=LEASE,
        now=lambda: now,
    )
    run.begin()
    return run


def finish(run: StudyRun) -> None:
    for _ in range(10_000):
        if run.step(0.0):
            return
    pytest.fail("the study did not end")


def read(database: Database, study: Study) -> tuple[Study, list[trials.Trial]]:
    with database.session() as session:
        return studies.get(session, study.id, None), trials.table(session, study.id)


def outside(storage: Storage, study: Study, name: str) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=f"{study.spec.name} · {name}", storage=storage).trials


def assert_exactly_as_declared(
    database: Database, storage: Storage, study: Study, n_seeds: int | None = None
) -> None:
    """Every declared trial ended once, and Optuna holds each of them, and nothing else, with the
    same parameters, value and state.

    `n_seeds` is at how many confirm seeds a look has ended the study.
    """
    after, table = read(database, study)
    assert after.has_ended
    spec = study.spec
    counts = Counter((trial.phase, trial.arm) for trial in table)
    n_finalists = {arm: len(best) for arm, best in finalists(spec, study.metric, table).items()}
    assert counts == {
        **{("search", arm.name): spec.n_searched(arm.name) for arm in spec.arms},
        **{
            ("rerun", arm.name): n_finalists[arm.name] * spec.search.rerun.n_seeds
            for arm in spec.arms
            if spec.search.rerun.is_on
        },
        **{("confirm", arm.name): n_seeds or spec.confirm.n_seeds for arm in spec.arms},
    }
    assert all(trial.has_ended for trial in table)
    with database.session() as session:
        numbers = trials.optuna_numbers(session, study.id)
    later = {trial.phase for trial in table} - {"search"}
    for name in [*(arm.name for arm in spec.arms), *later]:
        ours = {
            numbers[trial.id]: trial
            for trial in table
            if name == (trial.arm if trial.phase == "search" else trial.phase)
        }
        theirs = outside(storage, study, name)
        assert sorted(ours) == [trial.number for trial in theirs] == list(range(len(theirs)))
        for number, trial in ours.items():
            told = theirs[number]
            assert told.user_attrs["seed"] == trial.seed
            assert trial.params is not None
            assert told.params.items() <= dict(trial.params).items()
            expected = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}[trial.state]
            assert told.state.name == expected
            assert told.value == (None if trial.state == "failed" else trial.value)


def test_a_study_runs_from_search_to_verdict(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(confirm={"n_seeds": 8}), now)
    launcher = FormulaLauncher()
    finish(begin(database, storage, launcher, now))
    after, table = read(database, study)
    assert_exactly_as_declared(database, storage, study)
    assert after.state == "complete"
    # the formula gives noise 0.2, ten times the smallest difference
    assert after.verdict == "helps"
    assert after.comparison is not None
    assert after.protocol == PROTOCOL
    for name in ("baseline", "noisy", "confirm"):
        note = get_note(optuna.load_study(study_name=f"a study · {name}", storage=storage))
        assert str(after.comparison["sentence"]) in note.replace("\\", "")
    shown = storage.get_study_system_attrs(storage.get_study_id_from_name("a study · confirm"))
    assert {key.split(":")[2] for key in shown if key.startswith("dashboard:plot_data:")} >= {
        "confirm",
        "best_so_far",
        "course",
    }
    chosen = {trial.arm: trial.params for trial in table if trial.phase == "confirm"}
    for arm in ("baseline", "noisy"):
        best = max(
            (trial for trial in table if (trial.phase, trial.arm) == ("search", arm)),
            key=lambda trial: trial.value or 0.0,
        )
        assert chosen[arm] == best.params
    assert {spec.with_test for spec in launcher.admitted if spec.techniques == ("annealed",)} == {
        True,
        False,
    }
    specs = {spec.key: spec for spec in launcher.admitted}
    assert len(specs) == 2 * (4 + 8)


def test_the_best_few_settings_run_again_on_other_seeds_and_their_best_mean_is_confirmed(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    search = {"n_trials": 6, "epochs": 3, "sampler": "random", "rerun": {"top": 3, "n_seeds": 4}}
    study = submit(database, make_spec(search=search, confirm={"n_seeds": 8}), now)
    launcher = FormulaLauncher()
    finish(begin(database, storage, launcher, now))
    after, table = read(database, study)
    assert_exactly_as_declared(database, storage, study)
    of = {
        phase: [trial for trial in table if trial.phase == phase]
        for phase in ("search", "rerun", "confirm")
    }
    assert len(launcher.admitted) == len(table) == study.spec.n_trials_total == 2 * (6 + 12 + 8)
    assert all(
        len({trial.seed for trial in of["rerun"] if trial.arm == arm}) == 4
        for arm in ("baseline", "noisy")
    )
    assert {trial.seed for trial in of["rerun"]}.isdisjoint(
        {trial.seed for trial in (*of["search"], *of["confirm"])}
    )
    measured_on_test = {spec.seed for spec in launcher.admitted if spec.with_test}
    assert measured_on_test == {trial.seed for trial in of["confirm"]}
    for arm in ("baseline", "noisy"):
        best = finalists(study.spec, ACCURACY, table)[arm]
        again = [
            [t for t in of["rerun"] if (t.arm, t.number // 4) == (arm, rank)] for rank in range(3)
        ]
        assert [{str(t.params) for t in of_one} for of_one in again] == [
            {str(trial.params)} for trial in best
        ]
        # the formula's only term that is not the seed's
        lr = max(float(trial.params["lr"]) for trial in best if trial.params)
        chosen = {
            float(trial.params["lr"])
            for trial in of["confirm"]
            if trial.arm == arm and trial.params
        }
        assert chosen == {lr}
    assert after.comparison is not None
    summary = after.comparison["arms"][1]  # type: ignore[index]  # plain values
    chosen_trial = choose(study.spec, ACCURACY, table)["noisy"]
    assert chosen_trial is not None
    assert summary["search_value"] == chosen_trial.value
    mean = (
        sum(
            t.value or 0.0
            for t in of["rerun"]
            if t.arm == "noisy" and t.params == chosen_trial.params
        )
        / 4
    )
    assert (summary["chosen_value"], summary["rerun"]["n_complete"]) == (pytest.approx(mean), 12)
    assert after.verdict == "helps"


def test_reruns_that_are_lost_count_against_their_setting(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    search = {"n_trials": 4, "epochs": 3, "sampler": "random", "rerun": {"top": 2, "n_seeds": 2}}
    study = submit(database, make_spec(search=search, max_attempts=1), now)
    again = {study.spec.trial_seed("rerun", i) for i in range(2)}
    ended: list[Finished] = []

    def refuse(spec: TrialSpec, epoch: int) -> News | None:
        if spec.seed not in again or spec.techniques == ("annealed",) or len(ended) == 2:
            return None
        ended.append(Finished(key=spec.key, diverged=True, seconds=0.1))
        return ended[-1]

    finish(begin(database, storage, FormulaLauncher(slots=1, refuse=refuse), now))
    _, table = read(database, study)
    assert_exactly_as_declared(database, storage, study)
    first, second = finalists(study.spec, ACCURACY, table)["baseline"]
    assert [
        trial.diverged for trial in table if (trial.phase, trial.arm) == ("rerun", "baseline")
    ] == [True, True, False, False]
    assert (
        {str(t.params) for t in table if (t.phase, t.arm) == ("confirm", "baseline")}
        == {str(second.params)}
        != {str(first.params)}
    )


def test_an_extended_study_runs_its_new_seeds_alone_and_is_judged_over_all(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(confirm={"n_seeds": 5}), now)
    finish(begin(database, storage, FormulaLauncher(), now))
    first, before = read(database, study)
    assert first.verdict == "undecided"  # five pairs cannot tell
    later = now + timedelta(hours=1)
    with database.session(write=True) as session:
        extended = studies.extend(session, study.id, "ada", 3, max_trials=100, now=later)
        progress = studies.progress(session, study.id, later)
    assert [(arm.phase, arm.n_ended, arm.n_trials) for arm in progress.arms] == [
        ("search", 4, 4)
    ] * 2 + [("confirm", 5, 8)] * 2
    launcher = FormulaLauncher()
    finish(begin(database, storage, launcher, later))
    after, table = read(database, study)
    assert_exactly_as_declared(database, storage, extended)
    assert [trial for trial in table if trial.phase != "confirm" or trial.number < 5] == before
    new = [trial for trial in table if trial.phase == "confirm" and trial.number >= 5]
    assert len(launcher.admitted) == len(new) == 6
    assert {trial.seed for trial in new} == {study.spec.trial_seed("confirm", i) for i in (5, 6, 7)}
    assert (after.state, after.verdict) == ("complete", "helps")
    assert after.comparison is not None
    alone = submit(database, make_spec(name="alone", confirm={"n_seeds": 8}), now)
    finish(begin(database, storage, FormulaLauncher(), now))
    whole = read(database, alone)[0].comparison
    assert whole is not None
    # as if it had been declared so, but for the earlier look
    assert after.comparison["seeds"] == whole["seeds"]
    # at 5 pairs no verdict could have been given
    assert (after.looks, after.comparison["looks"], whole["looks"]) == ((5,), [], [])


LOOKS = {"n_seeds": 20, "looks": [7, 16], "boundary": "pocock"}


def loses(spec: StudySpec, *numbers: int) -> Callable[[TrialSpec, int], News | None]:
    """The noisy runs on these confirm seeds diverge, so that the differences are not all alike."""
    lost = {spec.trial_seed("confirm", i) for i in numbers}

    def refuse(trial: TrialSpec, epoch: int) -> News | None:
        is_lost = trial.techniques == ("annealed",) and trial.seed in lost
        return Finished(key=trial.key, diverged=True, seconds=0.1) if is_lost else None

    return refuse


@pytest.mark.parametrize(
    ("lost", "n_seeds", "verdict"),
    [((), 7, "helps"), ((0,), 16, "helps"), ((0, 1, 2), 20, "undecided")],
)
def test_a_study_runs_to_the_first_look_that_decides(
    database: Database,
    storage: Storage,
    make_spec: Make,
    now: datetime,
    lost: tuple[int, ...],
    n_seeds: int,
    verdict: str,
) -> None:
    """The formula's gain is the same on every seed; a run that diverges loses about 0.4."""
    study = submit(database, make_spec(confirm=LOOKS), now)
    launcher = FormulaLauncher(refuse=loses(study.spec, *lost))
    finish(begin(database, storage, launcher, now))
    after, table = read(database, study)
    assert_exactly_as_declared(database, storage, study, n_seeds)
    assert len(launcher.admitted) == 2 * (4 + n_seeds)
    assert (after.verdict, after.n_judged) == (verdict, n_seeds)
    assert after.comparison is not None
    assert (after.comparison["is_final"], after.comparison["verdict"]) == (True, verdict)
    assert {trial.seed for trial in table if trial.phase == "confirm"} == {
        study.spec.trial_seed("confirm", i) for i in range(n_seeds)
    }


def test_a_study_that_a_look_has_ended_is_extended_from_there(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(confirm=LOOKS), now)
    finish(begin(database, storage, FormulaLauncher(), now))
    later = now + timedelta(hours=1)
    with database.session(write=True) as session:
        extended = studies.extend(session, study.id, "ada", 2, max_trials=100, now=later)
        progress = studies.progress(session, study.id, later)
    assert [(arm.n_ended, arm.n_trials) for arm in progress.arms if arm.phase == "confirm"] == [
        (7, 9)
    ] * 2
    launcher = FormulaLauncher()
    finish(begin(database, storage, launcher, later))
    assert_exactly_as_declared(database, storage, extended)
    after, _ = read(database, study)
    assert len(launcher.admitted) == 2 * 2
    assert (after.spec.confirm.n_seeds, after.spec.confirm.looks, after.spec.confirm.plan) == (
        9,
        [7],
        (7, 16, 20),
    )
    assert after.comparison is not None
    assert (after.looks, after.comparison["looks"], after.n_judged) == ((7,), [7], 9)
    # what a client reads
    assert StudySpec.model_validate_json(after.spec.model_dump_json()).confirm.looks == [7]


def grid(n_seeds: int = 3, **changes: object) -> dict[str, object]:
    """The fields of a study without a search: two learning rates on every seed, so 2 x n_seeds
    pairs.
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
    """Every arm ran every setting on every seed once; pairs share their seed, no two settings do;
    Optuna holds the same.
    """
    after, table = read(database, study)
    assert after.has_ended
    points = study.spec.n_points
    assert [(t.phase, t.arm, t.number) for t in table] == [
        ("confirm", arm, i) for arm in ("baseline", "noisy") for i in range(points * n_seeds)
    ]
    for trial in table:
        assert trial.params == study.spec.points(trial.arm)[trial.number % points]
        assert (trial.seed, trial.budget_epochs) == (
            study.spec.trial_seed("confirm", trial.number),
            2,
        )
    assert len({trial.seed for trial in table}) == points * n_seeds
    with database.session() as session:
        numbers = trials.optuna_numbers(session, study.id)
    theirs = outside(storage, study, "confirm")
    assert sorted(numbers.values()) == [one.number for one in theirs] == list(range(len(table)))
    for trial in table:
        told = theirs[numbers[trial.id]]
        assert (told.user_attrs["arm"], told.user_attrs["seed"], told.value) == (
            trial.arm,
            trial.seed,
            trial.value,
        )


def test_a_study_without_a_search_runs_every_setting_in_every_arm_and_is_extended_by_seeds(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(**grid()), now)
    launcher = FormulaLauncher()
    finish(begin(database, storage, launcher, now))
    assert_whole_grid(database, storage, study, 3)
    first, before = read(database, study)
    assert len(launcher.admitted) == study.spec.n_trials_total == 12
    assert all(spec.with_test for spec in launcher.admitted)
    assert first.verdict == "helps"
    assert first.comparison is not None
    # plain values
    assert [point["params"] for point in first.comparison["points"]] == study.spec.points()  # type: ignore[attr-defined]
    later = now + timedelta(hours=1)
    with database.session(write=True) as session:
        extended = studies.extend(session, study.id, "ada", 2, max_trials=20, now=later)
        progress = studies.progress(session, study.id, later)
    assert [(arm.phase, arm.n_ended, arm.n_trials) for arm in progress.arms] == [
        ("confirm", 6, 10)
    ] * 2
    finish(begin(database, storage, FormulaLauncher(), later))
    assert_whole_grid(database, storage, extended, 5)
    after, table = read(database, study)
    assert [trial for trial in table if trial.number < 6] == before
    assert after.comparison is not None
    # plain values
    assert (len(after.comparison["seeds"]), after.comparison["looks"]) == (10, [3])  # type: ignore[arg-type]
    with database.session(write=True) as session, pytest.raises(InvalidSpecError) as refused:
        studies.extend(session, study.id, "ada", 2, max_trials=27, now=later)
    assert [(one.field, one.value, one.legal) for one in refused.value.errors] == [
        ("seeds", 2, "at most 1 more seeds")
    ]


def test_a_study_without_a_search_ends_at_the_first_look_that_decides(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    """A look at 4 seeds is one at 8 pairs."""
    study = submit(database, make_spec(**grid(10, looks=[4, 8], boundary="pocock")), now)
    finish(begin(database, storage, FormulaLauncher(), now))
    assert_whole_grid(database, storage, study, 4)
    assert (read(database, study)[0].verdict, read(database, study)[0].n_judged) == ("helps", 4)


def test_a_study_without_a_search_whose_every_trial_fails_ends_failed(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(**grid(), max_attempts=1), now)
    finish(begin(database, storage, FormulaLauncher(refuse=lambda spec, _epoch: fails(spec)), now))
    after, _ = read(database, study)
    assert after.state == "failed"
    assert str(after.error).startswith("Every trial failed. The first error:")
    assert str(after.error).endswith("ValueError: boom")


def test_arms_of_unequal_budget_search_what_they_declare_and_the_report_leads_with_it(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    arms = [arm.model_dump(exclude_defaults=True) for arm in make_spec().arms]
    search = {"n_trials": 2, "epochs": 3, "sampler": "random", "rerun": {"top": 3, "n_seeds": 1}}
    study = submit(
        database,
        make_spec(arms=[arms[0], arms[1] | {"n_trials": 5}], budget="unequal", search=search),
        now,
    )
    with database.session() as session:
        planned = studies.progress(session, study.id, now)
    finish(begin(database, storage, FormulaLauncher(), now))
    assert_exactly_as_declared(database, storage, study)
    after, table = read(database, study)
    assert (
        len(table)
        == study.spec.n_trials_total
        == sum(arm.n_trials for arm in planned.arms)
        == 2 + 5 + 2 + 3 + 2 * 5
    )
    assert after.comparison is not None
    assert after.comparison["is_final"]
    assert str(after.comparison["warnings"][0]).startswith(  # type: ignore[index]  # plain values
        "The arms were not tuned alike: unequal, baseline 2 trials, noisy 5 trials."
    )


def test_values_are_judged_by_the_declared_rule_and_split(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(), now)
    launcher = FormulaLauncher()
    finish(begin(database, storage, launcher, now))
    _, table = read(database, study)
    by_seed = {(spec.seed, spec.techniques): spec for spec in launcher.admitted}
    for trial in table:
        spec = by_seed[trial.seed, ("annealed",) if trial.arm == "noisy" else ("none",)]
        assert trial.value == pytest.approx(
            accuracy(spec, 3) - (0.01 if trial.phase == "confirm" else 0.0)
        )


def test_the_best_validation_epoch_may_be_the_rule(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(judge="best_validation_epoch"), now)

    class Falling(FormulaLauncher):
        def _train(self, key: str, spec: TrialSpec) -> Iterator[News]:
            for one in super()._train(key, spec):
                if isinstance(one, Measurement):
                    values = {
                        name: 1.0 / one.epoch if name == "validation_accuracy" else one.epoch / 100
                        for name in one.values
                    }
                    yield Measurement(key=key, epoch=one.epoch, values=values, seconds=one.seconds)
                else:
                    yield one

    finish(begin(database, storage, Falling(), now))
    _, table = read(database, study)
    # the first epoch's validation
    assert {trial.value for trial in table if trial.phase == "search"} == {1.0}
    # the same epoch's test
    assert {trial.value for trial in table if trial.phase == "confirm"} == {0.01}


def test_every_epoch_is_measured_once(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(), now)
    finish(begin(database, storage, FormulaLauncher(), now))
    _, table = read(database, study)
    with database.session() as session:
        for trial in table:
            rows = measurements.of_trial(session, trial.id)
            assert [row.epoch for row in rows] == [1, 2, 3]
            assert (trial.epochs, trial.device_seconds) == (3, 0.75)


def test_pruned_trials_stop_at_their_rung_and_keep_its_value(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    pruner = {"name": "median", "startup_trials": 2, "warmup_epochs": 2}
    study = submit(
        database,
        make_spec(search={"n_trials": 12, "epochs": 4, "sampler": "random", "pruner": pruner}),
        now,
    )
    launcher = FormulaLauncher(slots=1)
    finish(begin(database, storage, launcher, now))
    _, table = read(database, study)
    assert_exactly_as_declared(database, storage, study)
    pruned = [trial for trial in table if trial.state == "pruned"]
    assert pruned
    assert {trial.epochs for trial in pruned} <= {2, 3}
    assert len(launcher.released) == len(pruned)


def test_a_trial_that_raises_is_retried_with_the_same_seed_and_parameters(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(), now)
    seen: Counter[int] = Counter()

    def fail_twice(spec: TrialSpec, epoch: int) -> News | None:
        if epoch != 2 or spec.techniques != ("annealed",):
            return None
        seen[spec.seed] += 1
        return fails(spec) if seen[spec.seed] <= 2 else None

    launcher = FormulaLauncher(refuse=fail_twice)
    finish(begin(database, storage, launcher, now))
    _, table = read(database, study)
    assert_exactly_as_declared(database, storage, study)
    assert {(trial.arm, trial.state, trial.n_attempts) for trial in table} == {
        ("baseline", "complete", 1),
        ("noisy", "complete", 3),
    }
    for seed, group in itertools.groupby(
        sorted(launcher.admitted, key=lambda spec: (spec.seed, spec.techniques)),
        lambda spec: spec.seed,
    ):
        noisy = [spec for spec in group if spec.techniques == ("annealed",)]
        assert len(noisy) == 3, seed
        assert all(spec.params == noisy[0].params for spec in noisy)


def test_a_trial_that_keeps_failing_is_a_loss_with_its_traceback(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(max_attempts=2), now)
    bad = study.spec.trial_seed("confirm", 3)
    refuse = lambda spec, epoch: (  # noqa: E731
        fails(spec) if (spec.seed, spec.techniques) == (bad, ("annealed",)) else None
    )
    finish(begin(database, storage, FormulaLauncher(refuse=refuse), now))
    after, table = read(database, study)
    assert_exactly_as_declared(database, storage, study)
    [failed] = [trial for trial in table if trial.state == "failed"]
    assert (failed.value, failed.n_attempts) == (0.0, 2)
    assert failed.error is not None
    assert failed.error.endswith("ValueError: boom")
    assert after.state == "complete"


def test_a_diverged_trial_is_complete_with_the_worst_value(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(), now)
    refuse = lambda spec, epoch: (  # noqa: E731
        Finished(key=spec.key, diverged=True, seconds=2.0) if spec.seed % 2 and epoch == 2 else None
    )
    finish(begin(database, storage, FormulaLauncher(refuse=refuse), now))
    _, table = read(database, study)
    assert_exactly_as_declared(database, storage, study)
    assert any(trial.diverged for trial in table)
    assert all((trial.state, trial.value) == ("complete", 0.0) for trial in table if trial.diverged)
    assert all(trial.diverged == bool(trial.seed % 2) for trial in table)
    assert {(trial.epochs, trial.device_seconds) for trial in table if trial.diverged} == {
        (1, 2.25)
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_that_is_not_finite_counts_as_diverged(
    database: Database, storage: Storage, make_spec: Make, now: datetime, value: float
) -> None:
    study = submit(database, make_spec(), now)

    def refuse(spec: TrialSpec, epoch: int) -> News | None:
        return Measurement(
            key=spec.key,
            epoch=epoch,
            values={"validation_accuracy": value, "test_accuracy": 0.5},
            seconds=0.1,
        )

    finish(begin(database, storage, FormulaLauncher(refuse=refuse), now))
    _, table = read(database, study)
    assert_exactly_as_declared(database, storage, study)
    assert all(trial.diverged and trial.value == 0.0 for trial in table)


def test_a_workload_that_does_not_measure_the_objective_fails_and_says_so(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(max_attempts=1), now)
    refuse = lambda spec, epoch: Measurement(  # noqa: E731
        key=spec.key, epoch=epoch, values={"train_loss": 1.0}, seconds=0.1
    )
    finish(begin(database, storage, FormulaLauncher(refuse=refuse), now))
    after, _ = read(database, study)
    assert after.state == "failed"
    assert after.error is not None
    assert "measured train_loss, but not validation_accuracy" in after.error


def test_a_study_whose_every_trial_fails_ends_failed_with_the_first_error(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(max_attempts=2), now)
    finish(begin(database, storage, FormulaLauncher(refuse=lambda spec, _epoch: fails(spec)), now))
    after, table = read(database, study)
    assert after.state == "failed"
    assert after.error is not None
    assert after.error.endswith("ValueError: boom")
    assert {(trial.phase, trial.state, trial.n_attempts) for trial in table} == {
        ("search", "failed", 2)
    }


def test_a_lost_worker_costs_its_trials_an_attempt_and_nothing_else(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(), now)
    lost: set[int] = set()

    def refuse(spec: TrialSpec, epoch: int) -> News | None:
        if epoch == 2 and spec.seed not in lost:
            lost.add(spec.seed)
            return WorkerLost(key=spec.key, reason="killed")
        return None

    finish(begin(database, storage, FormulaLauncher(refuse=refuse), now))
    _, table = read(database, study)
    assert_exactly_as_declared(database, storage, study)
    assert {trial.state for trial in table} == {"complete"}
    assert sum(trial.n_attempts - 1 for trial in table) == len(lost)


def test_an_epoch_costs_as_many_statements_for_many_trials_as_for_few(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    counts = []
    for n in (10, 200):
        submit(
            database,
            make_spec(
                name=f"of {n}", search={"n_trials": n // 2, "epochs": 100, "sampler": "random"}
            ),
            now,
        )
        launcher = FormulaLauncher(slots=n)
        run = begin(database, storage, launcher, now)
        while launcher.n_free():
            run.step(0.0)
        with statements(database.engine) as ours, statements(storage.engine) as theirs:
            run.step(0.0)
        assert set(launcher.epochs.values()) <= set(range(1, 100))
        counts.append((len(ours), len(theirs)))
    assert counts[0] == counts[1]
    assert counts[0][1] == 0


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """The statements that are executed inside the block."""
    executed: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        executed.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield executed
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_a_replayed_attempt_counts_each_epoch_once_and_costs_only_what_it_trains(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    """A trial whose worker is lost after epoch 2 is told of from its first epoch again, at no cost,
    and pruned or not as if undisturbed.
    """
    pruner = {"name": "median", "startup_trials": 2}
    study = submit(
        database,
        make_spec(search={"n_trials": 6, "epochs": 4, "sampler": "random", "pruner": pruner}),
        now,
    )
    undisturbed = submit(
        database, make_spec(name="undisturbed", search=study.spec.search.model_dump()), now
    )
    trained: dict[str, int] = {}

    class Resuming(FormulaLauncher):
        def _train(self, key: str, spec: TrialSpec) -> Iterator[News]:
            for one in super()._train(key, spec):
                replayed = isinstance(one, Measurement) and one.epoch <= trained.get(
                    spec.checkpoint, 0
                )
                if isinstance(one, Measurement):
                    trained[spec.checkpoint] = max(one.epoch, trained.get(spec.checkpoint, 0))
                # a measurement
                yield dataclasses.replace(one, seconds=0.0) if replayed else one  # type: ignore[type-var]

    lost: set[str] = set()

    def refuse(spec: TrialSpec, epoch: int) -> News | None:
        if epoch == 3 and spec.checkpoint not in lost:
            lost.add(spec.checkpoint)
            return WorkerLost(key=spec.key, reason="killed")
        return None

    finish(begin(database, storage, Resuming(slots=1, refuse=refuse), now))
    finish(begin(database, storage, FormulaLauncher(slots=1), now))
    (_, table), (_, expected) = read(database, study), read(database, undisturbed)
    assert lost
    assert {spec.split("/")[0] for spec in lost} == {str(study.id)}
    assert [(one.state, one.value, one.epochs, one.device_seconds) for one in table] == [
        (one.state, one.value, one.epochs, one.device_seconds) for one in expected
    ]
    assert sum(one.n_attempts - 1 for one in table) == len(lost)


@pytest.mark.parametrize("number", range(4))
def test_a_rung_that_was_passed_is_not_decided_again(
    database: Database, storage: Storage, make_spec: Make, now: datetime, number: int
) -> None:
    """A trial is lost beyond its rungs, and the others end meanwhile: what it replays is not held
    against them.
    """
    pruner = {"name": "median", "startup_trials": 2}
    study = submit(
        database,
        make_spec(search={"n_trials": 4, "epochs": 6, "sampler": "random", "pruner": pruner}),
        now,
    )
    seed, lost = study.spec.trial_seed("search", number), []

    def refuse(spec: TrialSpec, epoch: int) -> News | None:
        if (spec.seed, spec.techniques, epoch) == (seed, ("none",), 5) and not lost:
            lost.append(spec.key)
            return WorkerLost(key=spec.key, reason="killed")
        return None

    finish(begin(database, storage, FormulaLauncher(slots=8, refuse=refuse), now))
    _, table = read(database, study)
    assert_exactly_as_declared(database, storage, study)
    [resumed] = [trial for trial in table if trial.n_attempts == 2]
    assert resumed.epochs >= 4


def test_a_cancelled_study_is_let_go_at_once(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(), now)
    run = begin(database, storage, FormulaLauncher(), now)
    run.step(0.0)
    with database.session(write=True) as session:
        studies.cancel(session, study.id, "ada", now)
    with pytest.raises(LeaseLostError):
        run.step(0.0)


def test_a_zombie_writes_nothing_after_another_has_taken_over(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(), now)
    zombie = begin(database, storage, FormulaLauncher(), now)
    zombie.step(0.0)
    heir = begin(
        database,
        open_storage(database.url.render_as_string(hide_password=False)),
        FormulaLauncher(),
        now + 2 * LEASE,
    )
    for _ in range(3):
        with pytest.raises(LeaseLostError):
            zombie.step(0.0)
    finish(heir)
    after, table = read(database, study)
    assert after.state == "complete"
    assert all(trial.state == "complete" for trial in table)
    heir._searches["noisy"]._storage.remove_session()
    heir._searches["noisy"]._storage.engine.dispose()


class Crash(BaseException):
    """The process ends here."""


class Countdown:
    """Raises Crash at the n-th write, either before or after it takes effect."""

    def __init__(self, n: int) -> None:
        self.n = n

    def tick(self) -> bool:
        self.n -= 1
        return self.n == 0


class CrashingDatabase(Database):
    def __init__(self, url: str, countdown: Countdown) -> None:
        super().__init__(url)
        self.countdown = countdown

    @contextmanager
    def session(self, *, write: bool = False) -> Iterator[Session]:
        with super().session(write=write) as session:
            yield session
            if write and self.countdown.tick():
                raise Crash
        if write and self.countdown.tick():
            raise Crash


class CrashingStorage(RDBStorage):
    countdown: Countdown

    def create_new_trial(self, *arguments: Any, **keywords: Any) -> int:
        return self._with_crash(super().create_new_trial, *arguments, **keywords)

    def set_trial_state_values(self, *arguments: Any, **keywords: Any) -> bool:
        return self._with_crash(super().set_trial_state_values, *arguments, **keywords)

    def set_trial_intermediate_value(self, *arguments: Any, **keywords: Any) -> None:
        return self._with_crash(super().set_trial_intermediate_value, *arguments, **keywords)

    def _with_crash(self, write: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        if self.countdown.tick():
            raise Crash
        result = write(*arguments, **keywords)
        if self.countdown.tick():
            raise Crash
        return result


@pytest.mark.parametrize("stride", [5])
def test_a_crash_at_any_write_loses_nothing_and_counts_nothing_twice(
    database: Database, storage: Storage, make_spec: Make, now: datetime, stride: int
) -> None:
    pruner = {"name": "median", "startup_trials": 2}
    search = {"n_trials": 6, "epochs": 3, "sampler": "tpe", "pruner": pruner}
    study = submit(database, make_spec(search=search, confirm={"n_seeds": 3}), now)
    crash_again_and_again(database, study, now, stride)
    assert_exactly_as_declared(database, storage, study)


@pytest.mark.parametrize("stride", [3])
def test_a_crash_at_any_write_loses_no_setting_and_runs_none_twice(
    database: Database, storage: Storage, make_spec: Make, now: datetime, stride: int
) -> None:
    study = submit(database, make_spec(**grid(6)), now)
    crash_again_and_again(database, study, now, stride)
    assert_whole_grid(database, storage, study, 6)


@pytest.mark.parametrize("stride", [3])
def test_a_crash_at_any_write_loses_no_look_and_takes_none_twice(
    database: Database, storage: Storage, make_spec: Make, now: datetime, stride: int
) -> None:
    search = {"n_trials": 1, "epochs": 1, "sampler": "random", "rerun": {"n_seeds": 0}}
    study = submit(database, make_spec(search=search, confirm=LOOKS), now)
    crash_again_and_again(database, study, now, stride, loses(study.spec, 0))
    assert_exactly_as_declared(database, storage, study, 16)
    undisturbed = submit(database, make_spec(name="undisturbed", search=search, confirm=LOOKS), now)
    finish(begin(database, storage, FormulaLauncher(refuse=loses(study.spec, 0)), now))
    crashed, whole = read(database, study)[0].comparison, read(database, undisturbed)[0].comparison
    assert crashed is not None
    assert whole is not None
    assert [crashed[name] for name in ("differences", "plan", "seeds")] == [
        whole[name] for name in ("differences", "plan", "seeds")
    ]


def crash_again_and_again(
    database: Database,
    study: Study,
    now: datetime,
    stride: int,
    refuse: Callable[[TrialSpec, int], News | None] = lambda _spec, _epoch: None,
) -> None:
    """End the process again and again, `stride` writes later each time round, and let the next one
    take over.
    """
    url = database.url.render_as_string(hide_password=False)
    crashes = 0
    for life in itertools.count(1):
        now += 2 * LEASE
        countdown = Countdown(life * stride % 23 + 4)
        crashing = CrashingDatabase(url, countdown)
        storing = CrashingStorage(
            url,
            engine_kwargs={"connect_args": {"timeout": 30}} if crashing.is_sqlite else {},
            skip_table_creation=True,
        )
        storing.countdown = countdown
        try:
            finish(begin(crashing, storing, FormulaLauncher(slots=2, refuse=refuse), now))
            break
        except Crash:
            crashes += 1
        finally:
            storing.remove_session()
            storing.engine.dispose()
            crashing.dispose()
        if read(database, study)[0].has_ended:
            break
    assert crashes > 10
    assert read(database, study)[0].state == "complete"
