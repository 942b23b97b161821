"""A study whose trials train as one model gives the answer of trials that train one at a time."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

import pytest

from gradnoise.training.stack import StackTrainer
from gradnoise_service.compare.choosing import choices
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric
from gradnoise_service.search import Storage
from gradnoise_service.store.database import Database
from study_runs import finish, read, start, submit
from trainer_launcher import TrainerLauncher

SLOTS = 8
# float32 rounds the sums of both trainers in other orders, a relative error of about 1e-6 after
# some dozen updates; the differences of similar losses have a hundred times that error
RTOL = 1e-3

MLP = {
    "workload": "mlp",
    "options": {"dataset": "digits", "depth": 2, "width": 16, "init": "he"},
    "objective": "loss",
    "space": {"lr": {"low": 0.01, "high": 0.3, "log": True}},
}
ATTENTION = {
    "workload": "char-lm",
    "options": {
        "layers": 1,
        "heads": 2,
        "head_width": 8,
        "context": 16,
        "characters": 20_000,
        "batch_size": 128,
    },
    "objective": "bits_per_character",
    "optimizer": "muon",
    "space": {"lr": {"low": 0.003, "high": 0.1, "log": True}},
}
METRICS = {
    "loss": Metric(name="loss", direction="minimize", worst=100.0),
    "bits_per_character": Metric(name="bits_per_character", direction="minimize", worst=100.0),
}

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_reports")]


def small_study(make_spec: Callable[..., StudySpec], task: Mapping[str, object]) -> StudySpec:
    noise = {"eta": {"low": 1e-5, "high": 0.01, "log": True}, "gamma": 0.55}
    return make_spec(
        **task,
        search={
            "n_trials": 6,
            "epochs": 2,
            "sampler": "tpe",
            "pruner": {"name": "median", "startup_trials": 1},
            "rerun": {"top": 2, "n_seeds": 1},
        },
        arms=[
            {"name": "baseline", "technique": "none"},
            {"name": "noisy", "technique": "annealed", "space": noise},
        ],
        confirm={"n_seeds": 4},
    )


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("task", [MLP, ATTENTION], ids=lambda task: task["workload"])
def test_one_slot_and_eight_give_the_same_answer(
    database: Database,
    storage: Storage,
    make_spec: Callable[..., StudySpec],
    now: datetime,
    task: Mapping[str, object],
) -> None:
    metric = METRICS[str(task["objective"])]
    answers = []
    for slots in (1, SLOTS):
        launcher = TrainerLauncher(slots)
        spec = small_study(make_spec, {**task, "name": f"{slots} slots"})
        study = submit(database, spec, now, metric)
        finish(start(database, storage, launcher, now))
        assert launcher.n_together == slots
        after, table = read(database, study)
        assert after.state == "complete"
        trials = {
            f"{t.phase} {t.arm} {t.number}": {
                "seed": t.seed,
                "params": t.params,
                "state": t.state,
                "value": t.value,
                "diverged": t.diverged,
                "epochs": t.epochs,
            }
            for t in table
        }
        chosen = choices(study.design, metric, table)
        numbers = {arm: choice and choice.trial.number for arm, choice in chosen.items()}
        answers.append(dict(leaves([trials, numbers, after.comparison])))
    assert isinstance(launcher.trainer, StackTrainer)
    assert set(launcher.trainer.refusals.values()) == {""}
    alone, together = answers
    assert "pruned" in alone.values()
    assert alone == {
        path: pytest.approx(value, rel=RTOL) if isinstance(value, float) else value
        for path, value in together.items()
    }


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield the numbers and words in nested values by their path.

    Durations are left out, and the hashes, which are of every bit of the results.
    """
    if isinstance(value, Mapping):
        for name, part in value.items():
            if name not in ("device_seconds", "busy", "hashes"):
                yield from leaves(part, f"{path}.{name}")
    elif isinstance(value, list | tuple):
        for k, part in enumerate(value):
            yield from leaves(part, f"{path}.{k}")
    else:
        yield path, value
