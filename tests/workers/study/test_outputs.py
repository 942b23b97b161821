"""What trials print and save is stored once, whatever happens to worker and dispatcher."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

import chosen_outcomes
from formula_launcher import FormulaLauncher
from gradnoise.training.files import WEIGHTS_NAME, Files
from gradnoise.training.trial import Finished, Printed, Saved, TrialSpec
from gradnoise_service.domain.log import joined
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.search import Storage
from gradnoise_service.store import attempts, files, logs
from gradnoise_service.store.database import Database
from gradnoise_workers.launcher import LauncherEvent, WorkerLost
from gradnoise_workers.study.phases import runs_but_the_best
from study_runs import ACCURACY, LEASE, finish, read, start, submit


class Printing(FormulaLauncher):
    """Its trials print a line before each epoch."""

    def train(self, key: str, spec: TrialSpec) -> Iterator[LauncherEvent]:
        epoch = self.epochs[key] + 1
        yield Printed(key=key, position=8 * (epoch - 1), text=f"epoch {epoch}\n")
        yield from super().train(key, spec)


def test_each_attempt_has_what_it_printed_until_its_end(
    database: Database, storage: Storage, make_spec: Callable[..., StudySpec], now: datetime
) -> None:
    """A worker dies in epoch 2, then the dispatcher; another takes over and ends the study."""
    study = submit(database, make_spec(search={"n_trials": 4, "epochs": 3}), now)
    lost: list[str] = []

    def override(spec: TrialSpec, epoch: int) -> LauncherEvent | None:
        if epoch == 2 and not lost:
            lost.append(spec.key)
            return WorkerLost(key=spec.key, reason="killed\x00")
        return None

    first = start(database, storage, Printing(override=override), now)
    while len(lost) < 1:
        first.step(0.0)
    finish(start(database, storage, Printing(), now + 2 * LEASE))
    _, table = read(database, study)
    found: dict[str, set[str]] = {}
    with database.session() as session:
        for trial in table:
            texts = logs.of_trial(session, trial.id)
            for attempt in attempts.of_trial(session, trial.id):
                text = joined(texts.get(attempt.number, ()))
                found.setdefault(attempt.outcome, set()).add(text)
                if attempt.outcome == "worker_lost":
                    assert attempt.error == "killed�"
    whole = "epoch 1\nepoch 2\nepoch 3\n"
    assert found["complete"] == {whole}
    assert found["worker_lost"] == {"epoch 1\nepoch 2\n"}
    assert found["orphaned"] <= {"", "epoch 1\n", "epoch 1\nepoch 2\n"}


class Saving(FormulaLauncher):
    """Its trials keep their weights."""

    kept = Files(url="")

    def train(self, key: str, spec: TrialSpec) -> Iterator[LauncherEvent]:
        for event in super().train(key, spec):
            if isinstance(event, Finished) and spec.keep_weights:
                path = Path(self.kept.url) / "weights"
                path.write_text(spec.checkpoint)
                yield Saved(key=key, file=self.kept.keep(spec.checkpoint, WEIGHTS_NAME, path))
            yield event


@pytest.mark.parametrize("keep", ["none", "best", "all"])
def test_the_weights_of_no_run_of_the_best_or_of_all_are_kept(
    database: Database,
    storage: Storage,
    make_spec: Callable[..., StudySpec],
    now: datetime,
    tmp_path: Path,
    keep: str,
) -> None:
    spec = make_spec(
        search={"n_trials": 2, "epochs": 1, "sampler": "random", "rerun": {"n_seeds": 0}},
        confirm={"n_seeds": 6, "keep_weights": keep},
    )
    study, launcher = submit(database, spec, now), Saving()
    launcher.kept = Files(url=str(tmp_path))
    finish(start(database, storage, launcher, now, launcher.kept))
    _, table = read(database, study)
    runs = [trial for trial in table if trial.phase == "confirm"]
    best = [
        max((run for run in runs if run.arm == arm), key=lambda run: run.value or 0.0)
        for arm in ("baseline", "noisy")
    ]
    expected = {"none": [], "best": best, "all": runs}[keep]
    with database.session() as session:
        stored = {file.trial_id for file in files.of_study(session, study.id)}
    assert stored == {run.id for run in expected}
    on_disk = {int(path.parent.name) for path in tmp_path.glob("*/*/weights.pt")}
    assert on_disk == stored


def test_equal_and_lost_runs_leave_the_first_of_the_best(
    make_spec: Callable[..., StudySpec],
) -> None:
    values = {"baseline": [0.2, 0.5, 0.5], "noisy": ["failed", "diverged", "failed"]}
    _, trials = chosen_outcomes.study(make_spec, values)
    others = [(run.arm, run.number) for run in runs_but_the_best(ACCURACY, trials)]
    assert others == [("baseline", 0), ("baseline", 2), *(("noisy", i) for i in range(3))]
