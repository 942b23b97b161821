import math
import os
from pathlib import Path
from typing import Any

import pytest

from gradnoise.training.single import SingleTrainer
from gradnoise.training.stack import StackTrainer
from gradnoise.training.trial import Measurement, TrialSpec
from gradnoise.workloads.paper.memn2n import MemN2N
from trial_runs import curve, run

needs_data = pytest.mark.skipif(
    not Path(os.environ.get("GRADNOISE_DATA", ""), "babi", "en-valid").is_dir(),
    reason="needs a folder babi/en-valid in $GRADNOISE_DATA",
)


def spec(**changes: Any) -> TrialSpec:
    params = {"lr": 0.01, "lr_schedule": "halving", "lr_every_epochs": 25, "clip_norm": 40.0}
    defaults = {
        "key": "a",
        "workload": "memn2n",
        "params": params,
        "seed": 1,
        "budget_epochs": 2,
        "with_test": True,
    }
    return TrialSpec(**defaults | changes)


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize("options", [{}, {"linear_epochs": 1}])
def test_stacked_training_equals_single_training(options: dict[str, int]) -> None:
    """In float32 over 56 updates; the tolerance of an error is one of 100 questions."""
    stack = StackTrainer(3)
    found = curve(
        run(
            stack,
            spec(options=options),
            *(spec(key=f"{i}", seed=i, options=options) for i in (5, 6)),
        )
    )
    assert list(stack.refusals.values()) == [""]
    expected = curve(run(SingleTrainer(1), spec(options=options)))
    assert len(found) == len(expected) == 2
    for stacked, single in zip(found, expected, strict=True):
        assert stacked == pytest.approx(single, rel=1e-3, abs=0.011)
        assert stacked["train_loss"] == pytest.approx(single["train_loss"], rel=1e-4)


@needs_data
def test_initial_weights_have_the_papers_spread() -> None:
    """Within five standard errors of the sample variance, sqrt(2 / (n - 1))."""
    workload = MemN2N({"task": 1})
    model = workload.model()
    workload.initialise(model, seed=3)
    for parameter in model.parameters():
        n = parameter.numel()
        assert float(parameter.detach().var()) == pytest.approx(
            0.01, rel=5 * math.sqrt(2 / (n - 1))
        )


@needs_data
@pytest.mark.slow
def test_it_learns_task_1_as_the_paper_does() -> None:
    """With the paper's setting, without noise, at most 5 % of 1,000 test questions are wrong after
    60 epochs, for each of three seeds.
    """
    trials = [spec(key=key, seed=seed, budget_epochs=60) for seed, key in enumerate("abc")]
    stack = StackTrainer(3)
    for trial in trials:
        stack.admit(trial)
    last: dict[str, float] = {}
    while latest := stack.advance():
        last |= {
            event.key: event.values["test_error"]
            for event in latest
            if isinstance(event, Measurement)
        }
    assert len(last) == 3
    assert max(last.values()) <= 0.05
