"""What trials print is stored once for each attempt, whatever happens to worker and dispatcher."""

from collections.abc import Callable, Iterator
from datetime import datetime

from formula_launcher import FormulaLauncher
from gradnoise.training.trial import Printed, TrialSpec
from gradnoise_service.domain.log import joined
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.search import Storage
from gradnoise_service.store import attempts, logs
from gradnoise_service.store.database import Database
from gradnoise_workers.launcher import LauncherEvent, WorkerLost
from study_runs import LEASE, finish, read, start, submit


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
