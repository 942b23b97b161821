"""An actor measures, within its memory, and reports what a trial would raise."""

from dataclasses import replace

import pytest

from gradnoise.training import calibration
from gradnoise.training.stacked_model import StackedModel
from gradnoise.training.trial import TrialSpec
from gradnoise_workers.actor import TrialActor

OPTIONS = {"dataset": "digits", "depth": 2, "width": 16, "init": "he"}


def trial(key: str = "trial", **changes: object) -> TrialSpec:
    plain: dict[str, object] = {
        "key": key,
        "workload": "mlp",
        "options": OPTIONS,
        "techniques": ("annealed",),
        "params": {"lr": 0.05, "eta": 0.01, "gamma": 0.55},
        "seed": 1,
        "budget_epochs": 3,
    }
    return TrialSpec(**(plain | changes))  # type: ignore[arg-type]  # fields by name


def test_preparation_reports_the_error_of_each_trial_by_key() -> None:
    actor = TrialActor(on_gpu=False, checkpoints=None)
    too_large = trial("large", options=OPTIONS | {"batch_size": 5000})
    errors = actor.prepare([trial("fine"), too_large, trial("typo", workload="mpl")])
    assert set(errors) == {"large", "typo"}
    assert "batch_size=5000" in errors["large"]
    assert "'mpl'" in errors["typo"]


def test_copies_beyond_the_memory_are_reported_and_freed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A number that has fitted is measured again whatever is free meanwhile; on a CPU torch tells
    of a full memory in words alone.
    """
    update, actor = StackedModel.update, TrialActor(on_gpu=False, checkpoints=None)
    monkeypatch.setattr(calibration, "free_bytes", lambda: 0)
    alone = actor.measure(trial(), 1, None, 1)
    assert alone is not None
    # a process that had more memory before may show none that one trial took
    one = replace(alone, bytes_per_slot=1)
    assert actor.measure(trial(), 2, one, 1) is None
    two = actor.measure(trial(), 2, replace(one, slots=2), 1)
    assert two is not None
    assert two.steps_per_second > 0

    def tight(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(StackedModel, "update", tight)
    assert actor.measure(trial(), 4, replace(one, slots=4), 1) is None
    monkeypatch.setattr(StackedModel, "update", update)
    assert actor.measure(trial(), 2, two, 1) is not None
