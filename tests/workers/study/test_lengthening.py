"""A study whose confirm runs are trained on has the results of a study declared with their length,
and reports that a verdict was given before.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pytest

from formula_launcher import FormulaLauncher, failure
from gradnoise.training.checkpoint import Checkpoints
from gradnoise.training.trial import Finished
from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Study, Trial
from gradnoise_service.report import html, markdown
from gradnoise_service.search import Storage
from gradnoise_service.store import studies
from gradnoise_service.store.database import Database
from study_runs import finish, read, start, submit
from trainer_launcher import TrainerLauncher

Make = Callable[..., StudySpec]


def extend(database: Database, study: Study, n_epochs: int, now: datetime) -> Study:
    with database.session(write=True) as session:
        return studies.extend(
            session, study.id, "ada", 0, n_epochs=n_epochs, max_trials=1000, now=now
        )


def confirm_runs(table: list[Trial]) -> dict[tuple[str, int], tuple[Any, ...]]:
    return {
        (t.arm, t.number): (t.seed, t.params, t.value, t.state, t.diverged, t.epochs)
        for t in table
        if t.phase == "confirm"
    }


def test_longer_runs_are_those_of_a_study_declared_with_their_length(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    """Lost runs stay lost; seeds that are added later are trained to the new length."""

    def lose(spec: Any, epoch: int) -> Any:
        if spec.phase != "confirm" or spec.number > 1 or epoch < 2:
            return None
        return failure(spec) if spec.number else Finished(key=spec.key, diverged=True)

    seeds = {"n_seeds": 8}
    launcher = FormulaLauncher(override=lose)
    study = submit(database, make_spec(confirm=seeds, max_attempts=1), now)
    finish(start(database, storage, launcher, now))
    _, before = read(database, study)
    launcher.admitted.clear()
    extended = extend(database, study, 2, now)
    assert (extended.state, extended.design.confirm_lengths) == ("queued", (3, 5))
    assert (extended.extensions[0].n_epochs, extended.extensions[0].verdict) == (2, "helps")
    finish(start(database, storage, launcher, now))
    assert len(launcher.admitted) == 2 * 6
    assert {(s.budget_epochs, s.earlier_budgets, s.keep_checkpoint) for s in launcher.admitted} == {
        (5, (3,), True)
    }
    after, table = read(database, study)
    declared = submit(
        database,
        make_spec(name="declared", confirm=seeds | {"epochs": 5}, max_attempts=1),
        now,
    )
    finish(start(database, storage, launcher, now))
    of_declared, expected = read(database, declared)
    assert confirm_runs(table) == confirm_runs(expected)
    assert len(table) == len(before)
    assert after.comparison is not None
    assert of_declared.comparison is not None
    for name in ("verdict", "differences"):
        assert after.comparison[name] == of_declared.comparison[name]
    assert after.comparison["lengths"] == [3, 5]
    names = {each.study_name for each in storage.get_all_studies()}
    assert {f"a study (1) · confirm phase{end}" for end in ("", " to 5 epochs")} <= names
    for key in after.design.search_keys[-2:]:
        recorded = optuna.load_study(study_name=after.search_name(key), storage=storage).trials
        assert len(recorded) == (16 if not key.epochs else 12)
        assert all(trial.state.is_finished() for trial in recorded)
    comparison = Comparison.model_validate(after.comparison)
    sentence = (
        "The confirm runs were trained on to 5 epochs after a verdict at 3 epochs had been seen: "
        "over all verdicts equal arms are called different in at most about 10 % of studies, not "
        "in 5 %."
    )
    for text in (markdown.render(after, comparison), html.render(after, comparison)):
        assert sentence in text
    with database.session(write=True) as session:
        more = studies.extend(session, study.id, "ada", 2, max_trials=1000, now=now)
    launcher.admitted.clear()
    finish(start(database, storage, launcher, now))
    assert {spec.budget_epochs for spec in launcher.admitted} == {5}
    assert len(launcher.admitted) == 4
    assert more.design.false_verdict_chance > 0.1


@pytest.mark.slow
@pytest.mark.usefixtures("without_reports")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("has_checkpoints", [True, False])
def test_runs_continue_from_their_states_or_from_the_start(
    database: Database,
    storage: Storage,
    make_spec: Make,
    now: datetime,
    tmp_path: Path,
    has_checkpoints: bool,
) -> None:
    """With the same results, bit by bit."""
    loss = Metric(name="loss", direction="minimize", worst=100.0)
    task = {
        "options": {"dataset": "digits", "depth": 1, "width": 8, "init": "he"},
        "objective": "loss",
        "search": {"n_trials": 2, "epochs": 1, "rerun": {"n_seeds": 0}},
    }
    checkpoints = Checkpoints(url=str(tmp_path), every_seconds=1e6)
    values = []
    for name, confirm in (("extended", {}), ("declared", {"epochs": 3})):
        kept = checkpoints if has_checkpoints and name == "extended" else None
        launcher = TrainerLauncher(8, kept)
        spec = make_spec(name=name, confirm={"n_seeds": 4} | confirm, **task)
        study = submit(database, spec, now, loss)
        finish(start(database, storage, launcher, now))
        if name == "extended":
            extend(database, study, 2, now)
            finish(start(database, storage, TrainerLauncher(8, kept), now))
        after, table = read(database, study)
        assert after.state == "complete"
        values.append(confirm_runs(table))
    assert values[0] == values[1]
    assert len(list(tmp_path.rglob("*.pt"))) == (8 if has_checkpoints else 0)
