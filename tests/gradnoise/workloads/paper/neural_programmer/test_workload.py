import math
from typing import Any

import numpy as np
import pytest
import torch

import trial_runs
from gradnoise.training.single import SingleTrainer
from gradnoise.training.stack import StackTrainer
from gradnoise.training.trial import Measurement, TrialSpec
from gradnoise.workloads.paper.neural_programmer import NeuralProgrammer
from gradnoise.workloads.paper.neural_programmer.data import tensors
from gradnoise.workloads.paper.neural_programmer.questions import random_question
from trial_runs import curve, run


def test_an_answer_is_right_if_both_its_parts_are_exact() -> None:
    """An error of 0.01 in the number, or a single wrong entry, makes an answer wrong."""
    workload = NeuralProgrammer()
    draw = np.random.default_rng(3)
    batch = tensors([random_question(0, 1, "all", 2, draw) for _ in range(40)])
    right = torch.cat([batch[5][:, None], batch[6].float().flatten(1)], 1)

    def accuracy(found: torch.Tensor) -> float:
        return float(workload.measure(lambda *_: found, batch)["accuracy"])

    assert accuracy(right) == 1.0
    for at, change in ((0, 0.01), (0, -0.01), (1, 1.0), (30, 1.0)):
        wrong = right.clone()
        wrong[:, at] = (wrong[:, at] + change) if at == 0 else change - wrong[:, at]
        assert accuracy(wrong) == 0.0


def test_the_two_losses_are_those_of_the_paper() -> None:
    """The Huber loss with delta 10 for a number; for entries, the mean log loss over existing
    entries, times its weight.
    """
    draw = np.random.default_rng(3)
    questions = [random_question(0, 2, "all", 2, draw) for _ in range(10)]
    batch, workload = tensors(questions), NeuralProgrammer({"delta": 10, "lookup_weight": 7})
    found = torch.full((10, 1 + 100 * 2), 0.25)
    found[:, 0] = batch[5] + torch.tensor([3.0, 30.0] * 5)
    total = 0.0
    for question, error in zip(questions, [3.0, 30.0] * 5, strict=True):
        is_entry = torch.from_numpy(question.entries).double()
        log_loss = -(is_entry * math.log(0.25) + (1 - is_entry) * math.log(0.75)).mean()
        total += (
            7 * float(log_loss)
            if question.scalar is None
            else error**2 / 2
            if error < 10
            else 10 * error - 50
        )
    found[:, 1:] *= torch.from_numpy(
        np.arange(100) < np.array([[len(question.table)] for question in questions])
    ).repeat_interleave(2, 1)
    assert float(workload.loss(lambda *_: found, batch)) == pytest.approx(total / 10, rel=1e-5)


def test_the_splits_are_fixed_and_different() -> None:
    data = NeuralProgrammer({"train_examples": 500}).data()
    assert [len(split[0]) for split in (data.train, data.validation, data.test)] == [500, 500, 500]
    assert not torch.equal(data.train[3], data.validation[3])
    assert not torch.equal(data.validation[3], data.test[3])
    assert torch.equal(
        NeuralProgrammer({"train_examples": 100}).data().train[3], data.train[3][:100]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"train_examples": 100, "batch_size": 101},
            r"batch_size must be at most 100, the training examples, with train_examples=100, "
            r"but got batch_size=101",
        ),
        (
            {"number_columns": 0},
            r"options.number_columns must be an integer of at least 1 and at most 10, but got "
            r"number_columns=0",
        ),
        (
            {"dropout": 1.0},
            r"options.dropout must be a finite number of at least 0 and at most 0.9999, but got "
            r"dropout=1.0",
        ),
        (
            {"answers": "words"},
            r"options.answers must be one of 'aggregates', .*, 'all', but got answers='words'",
        ),
    ],
)
def test_illegal_options_raise_an_error_that_names_them(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        NeuralProgrammer(options)


def spec(**changes: Any) -> TrialSpec:
    params = {"lr": 0.01, "clip_norm": 1.0}
    defaults = {
        "workload": "neural-programmer",
        "optimizer": "adam",
        "params": params,
        "budget_epochs": 2,
        "with_test": True,
    }
    return trial_runs.spec(**defaults | changes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "technique"),
    [
        ({}, {}),
        ({"number_columns": 2, "text_columns": 1}, {}),
        ({"dropout": 0.3}, {}),
        ({}, {"rate": 0.3}),
    ],
)
def test_stacked_training_equals_single_training(
    options: dict[str, float], technique: dict[str, float]
) -> None:
    """In float32 over ten updates, with dropout of the model or of the technique.

    The tolerance of an accuracy is two of 500 questions.
    """
    options = {"train_examples": 500, "batch_size": 100} | options
    arm = {
        "techniques": ("dropout",) if technique else ("none",),
        "params": {"lr": 0.01, "clip_norm": 1.0} | technique,
        "options": options,
    }
    stack = StackTrainer(3)
    found = curve(
        run(stack, spec(**arm), *(spec(key=f"{i}", seed=i, options=options) for i in (5, 6)))
    )
    assert list(stack.refusals.values()) == [""]
    expected = curve(run(SingleTrainer(1), spec(**arm)))
    assert len(found) == len(expected) == 2
    for stacked, single in zip(found, expected, strict=True):
        assert stacked == pytest.approx(single, rel=1e-3, abs=0.0041)
        assert stacked["train_loss"] == pytest.approx(single["train_loss"], rel=1e-4)


@pytest.mark.slow
def test_it_learns_sums_and_counts_of_a_single_column() -> None:
    """200 updates without noise, at most one condition: at least four of eight seeds answer at
    least 95 % of the test questions exactly.

    Of 32 seeds, 30 answered all questions when this test was written. At a rate of 0.80, the lower
    end of Wilson's 95 % interval, the probability of fewer than four of eight is 1.1 %.
    """
    options = {"answers": "aggregates", "conditions": 1, "train_examples": 5_000}
    stack = StackTrainer(8)
    for seed in range(8):
        stack.admit(spec(key=f"{seed}", seed=seed, options=options))
    last: dict[str, float] = {}
    while latest := stack.advance():
        last |= {
            event.key: event.values["test_accuracy"]
            for event in latest
            if isinstance(event, Measurement)
        }
    assert len(last) == 8
    assert sum(accuracy >= 0.95 for accuracy in last.values()) >= 4
