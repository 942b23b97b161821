"""A study runs from its first trial to its verdict, also if trials fail, diverge or are lost."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime

import optuna
import pytest
from optuna_dashboard import get_note

from formula_launcher import FormulaLauncher, accuracy, failure
from gradnoise.training.trial import Finished, Measurement, TrialSpec
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.search import Storage
from gradnoise_service.store.database import Database
from gradnoise_workers.launcher import LauncherEvent
from study_runs import (
    ON_SQLITE,
    PROTOCOL,
    assert_exactly_as_declared,
    finish,
    read,
    start,
    submit,
)

Make = Callable[..., StudySpec]

pytestmark = ON_SQLITE


def test_a_study_runs_from_search_to_verdict(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    """Values may have any JSON type."""
    sizes = [[3, 3], [5, 5], {"grow": [3, 5]}]
    values = {"kernel_sizes": {"choices": sizes}, "betas": [0.9, 0.98]}
    space = {"lr": {"low": 0.003, "high": 0.3, "log": True}} | values
    study = submit(database, make_spec(confirm={"n_seeds": 8}, space=space), now)
    launcher = FormulaLauncher()
    finish(start(database, storage, launcher, now))
    after, table = read(database, study)
    assert all(spec.params["kernel_sizes"] in sizes for spec in launcher.admitted)
    assert all(spec.params["betas"] == [0.9, 0.98] for spec in launcher.admitted)
    assert_exactly_as_declared(database, storage, study)
    assert after.state == "complete"
    # the formula adds 0.2 for noise, ten times the smallest difference
    assert after.verdict == "helps"
    assert after.comparison is not None
    assert after.protocol == PROTOCOL
    for name in ("baseline", "noisy", "confirm phase"):
        note = get_note(optuna.load_study(study_name=f"a study (1) · {name}", storage=storage))
        assert "**helps**" in note
    confirm = storage.get_study_id_from_name("a study (1) · confirm phase")
    attributes = storage.get_study_system_attrs(confirm)
    assert {key.split(":")[2] for key in attributes if key.startswith("dashboard:plot_data:")} >= {
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


def test_a_fault_of_the_report_does_not_fail_a_finished_study(
    database: Database,
    storage: Storage,
    make_spec: Make,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> str:
        raise RuntimeError("no such plot")

    monkeypatch.setattr("gradnoise_service.report.plots.render", broken)
    study = submit(database, make_spec(), now)
    finish(start(database, storage, FormulaLauncher(), now))
    after, _ = read(database, study)
    assert (after.state, after.error) == ("complete", None)
    assert after.comparison is not None


def test_values_are_judged_by_the_declared_rule_and_split(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(), now)
    launcher = FormulaLauncher()
    finish(start(database, storage, launcher, now))
    _, table = read(database, study)
    by_seed = {(spec.seed, spec.techniques): spec for spec in launcher.admitted}
    for trial in table:
        spec = by_seed[trial.seed, ("annealed",) if trial.arm == "noisy" else ("none",)]
        assert trial.value == pytest.approx(
            accuracy(spec, 3) - (0.01 if trial.phase == "confirm" else 0.0)
        )


def test_the_best_validation_epoch_may_be_judged(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(judge="best_validation_epoch"), now)

    class Falling(FormulaLauncher):
        def train(self, key: str, spec: TrialSpec) -> Iterator[LauncherEvent]:
            for event in super().train(key, spec):
                if isinstance(event, Measurement):
                    values = {
                        name: 1.0 / event.epoch
                        if name == "validation_accuracy"
                        else event.epoch / 100
                        for name in event.values
                    }
                    yield Measurement(
                        key=key, epoch=event.epoch, values=values, seconds=event.seconds
                    )
                else:
                    yield event

    finish(start(database, storage, Falling(), now))
    _, table = read(database, study)
    # the first epoch's validation
    assert {trial.value for trial in table if trial.phase == "search"} == {1.0}
    # the same epoch's test
    assert {trial.value for trial in table if trial.phase == "confirm"} == {0.01}


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
    finish(start(database, storage, launcher, now))
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
    n_failures: Counter[int] = Counter()

    def fail_twice(spec: TrialSpec, epoch: int) -> LauncherEvent | None:
        if epoch != 2 or spec.techniques != ("annealed",):
            return None
        n_failures[spec.seed] += 1
        return failure(spec) if n_failures[spec.seed] <= 2 else None

    launcher = FormulaLauncher(override=fail_twice)
    finish(start(database, storage, launcher, now))
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
    failing_seed = study.design.seed("confirm", "noisy", 3)
    override = lambda spec, epoch: (  # noqa: E731
        failure(spec) if (spec.seed, spec.techniques) == (failing_seed, ("annealed",)) else None
    )
    finish(start(database, storage, FormulaLauncher(override=override), now))
    after, table = read(database, study)
    assert_exactly_as_declared(database, storage, study)
    [failed] = [trial for trial in table if trial.state == "failed"]
    assert (failed.value, failed.n_attempts) == (None, 2)
    assert failed.error is not None
    assert failed.error.endswith("ValueError: boom")
    assert after.state == "complete"


def test_a_diverged_trial_is_complete_without_a_value(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(), now)
    override = lambda spec, epoch: (  # noqa: E731
        Finished(key=spec.key, diverged=True, seconds=2.0) if spec.seed % 2 and epoch == 2 else None
    )
    finish(start(database, storage, FormulaLauncher(override=override), now))
    _, table = read(database, study)
    assert_exactly_as_declared(database, storage, study)
    assert any(trial.diverged for trial in table)
    assert all(
        (trial.state, trial.value) == ("complete", None) for trial in table if trial.diverged
    )
    assert all(trial.diverged == bool(trial.seed % 2) for trial in table)
    assert {(trial.epochs, trial.device_seconds) for trial in table if trial.diverged} == {
        (1, 2.25)
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_that_is_not_finite_counts_as_diverged(
    database: Database, storage: Storage, make_spec: Make, now: datetime, value: float
) -> None:
    study = submit(database, make_spec(), now)

    def override(spec: TrialSpec, epoch: int) -> LauncherEvent | None:
        return Measurement(
            key=spec.key,
            epoch=epoch,
            values={"validation_accuracy": value, "test_accuracy": 0.5},
            seconds=0.1,
        )

    finish(start(database, storage, FormulaLauncher(override=override), now))
    _, table = read(database, study)
    assert_exactly_as_declared(database, storage, study)
    assert all(trial.diverged and trial.value is None for trial in table)


def test_a_workload_without_the_objective_fails_with_its_name(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(max_attempts=1), now)
    override = lambda spec, epoch: Measurement(  # noqa: E731
        key=spec.key, epoch=epoch, values={"train_loss": 1.0}, seconds=0.1
    )
    finish(start(database, storage, FormulaLauncher(override=override), now))
    after, _ = read(database, study)
    assert after.state == "failed"
    assert after.error is not None
    assert "measured train_loss, but not validation_accuracy" in after.error


def test_a_study_is_given_up_when_every_trial_raises_the_same_error_at_once(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    """Of 40 trials with 3 attempts each, at most a handful run; the open ones are cancelled."""
    search = {**make_spec().model_dump()["search"], "n_trials": 20, "lag": None}
    study = submit(database, make_spec(search=search), now)
    launcher = FormulaLauncher(override=lambda spec, _epoch: failure(spec))
    finish(start(database, storage, launcher, now))
    after, table = read(database, study)
    assert after.state == "failed"
    assert str(after.error).startswith("Every trial of baseline fails with the same error")
    assert str(after.error).endswith("ValueError: boom")
    assert len(launcher.admitted) < 15
    assert {trial.state for trial in table} <= {"failed", "cancelled"}


def test_a_study_fails_with_the_first_error_if_every_trial_fails(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    """Each with an error of its own: whether another setting works is known at the end alone."""
    study = submit(database, make_spec(max_attempts=2), now)

    def override(spec: TrialSpec, _epoch: int) -> LauncherEvent:
        return failure(spec, f"ValueError: lr={spec.params['lr']}")

    finish(start(database, storage, FormulaLauncher(override=override), now))
    after, table = read(database, study)
    assert after.state == "failed"
    assert str(after.error).startswith("Every trial failed. The first error:")
    assert {(trial.phase, trial.state, trial.n_attempts) for trial in table} == {
        ("search", "failed", 2)
    }


def test_a_study_fails_if_every_search_trial_of_an_arm_raises(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(max_attempts=1), now)

    def override(spec: TrialSpec, _epoch: int) -> LauncherEvent | None:
        own = f"ValueError: lr={spec.params['lr']}: boom"
        return failure(spec, own) if spec.techniques == ("annealed",) else None

    finish(start(database, storage, FormulaLauncher(override=override), now))
    after, table = read(database, study)
    assert (after.state, after.comparison) == ("failed", None)
    assert str(after.error).startswith("Every trial of noisy in the search phase failed. The first")
    assert str(after.error).endswith("boom")
    assert {t.phase for t in table if t.arm == "noisy"} == {"search"}


def test_an_arm_whose_search_trials_all_diverge_does_not_fail_the_study(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(), now)

    def override(spec: TrialSpec, _epoch: int) -> LauncherEvent | None:
        is_lost = spec.techniques == ("annealed",)
        return Finished(key=spec.key, diverged=True, seconds=0.1) if is_lost else None

    finish(start(database, storage, FormulaLauncher(override=override), now))
    after, _ = read(database, study)
    assert (after.state, after.verdict) == ("complete", "undecided")
    assert after.comparison is not None
    (difference,) = after.comparison["differences"]  # type: ignore[misc]  # plain values
    assert difference["no_verdict"] == {
        "kind": "every_trial_lost",
        "arm": "noisy",
        "phase": "search",
    }
