"""Which trials train as one model, and the reasons why others do not."""

import logging
import re

import pytest

from gradnoise.training.single import SingleTrainer
from gradnoise.training.stack import StackTrainer
from gradnoise.training.trial import Finished
from trial_runs import curve, run, spec


@pytest.fixture(autouse=True)
def _probes(probes: None) -> None:
    """Every test here uses the probe workloads."""


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        (
            "branch",
            r"torch\.func\.vmap cannot train it: at probe_workloads\.py:\d+, `if .* "
            r"hidden\.sum\(\) > 0:`: RuntimeError: vmap: .*",
        ),
        (
            "lstm",
            r"torch\.func\.vmap cannot train it: at probe_workloads\.py:.*lstm.*the batching rule "
            r"for aten::mkldnn_rnn_layer.*",
        ),
        (
            "draws",
            r"its loss or its metrics draw random numbers, which the trials of a stack would "
            r"share: at probe_workloads\.py:\d+, `hidden = .*dropout\(.*`\.",
        ),
        (
            "draws in numpy",
            r"its loss or its metrics draw random numbers, which the trials of a stack would "
            r"share: in numpy or in random\.",
        ),
        (
            "counts",
            r"its loss or its metrics change n_calls of its modules, which the trials of a stack "
            r"would share\.",
        ),
        ("reassigns", r"as one model it would give another value for .* than alone\."),
        ("hooks", r"as one model it would give another value for last\.weight than alone\."),
        ("complex", r"its parameters are torch\.complex128, and a stack holds real numbers\."),
        (
            "mixed",
            r"its parameters are torch\.complex128 and torch\.float64, and a stack holds one "
            r"type\.",
        ),
        ("sparse", r".*"),
        ("unused", r"extra takes no part in its loss, and a stack would update such a parameter\."),
        ("frozen", r"lstm\.weight takes no gradient, and a stack would update such a parameter\."),
        ("wrong", r"as one model it would give another value for the loss than alone\."),
        ("mismeasures", r"as one model it would give another value for error than alone\."),
        ("mixes", r"as one model it would give another value for error than alone\."),
        ("measures more", r"as one model it would give other metrics than alone: error, more\."),
    ],
)
def test_what_does_not_stack_trains_alone_and_the_log_gives_the_reason(
    why: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    trials = [spec(f"{i}", workload="lone", options={"why": why}, seed=i) for i in range(3)]
    stack = StackTrainer(3)
    with caplog.at_level(logging.WARNING, logger="gradnoise"):
        events = run(stack, *trials)
    (found,) = stack.refusals.values()
    assert re.fullmatch(reason, found)
    assert [record.getMessage() for record in caplog.records] == [
        f"Trials of lone train one at a time: {found}"
    ]
    for trial in trials:
        found_curve = curve(events, trial.key)
        assert found_curve, events
        assert found_curve == curve(run(SingleTrainer(1), trial), trial.key)


@pytest.mark.parametrize("metric", ["scalar", "vector", "float", "bool", "int"])
def test_a_metric_of_any_numeric_kind_is_measured_in_a_stack(metric: str) -> None:
    """The model counts its calls: the check leaves no trace in it."""
    trial = spec(workload="odd", options={"metric": metric}, params={"lr": 0.01})
    stack = StackTrainer(3)
    found = curve(
        run(
            stack,
            trial,
            *(
                spec(f"n{i}", workload="odd", options={"metric": metric}, seed=2 + i)
                for i in range(2)
            ),
        )
    )
    assert list(stack.refusals.values()) == [""]
    for values, other in zip(found, curve(run(SingleTrainer(), trial)), strict=True):
        assert values == pytest.approx(other, rel=1e-10, abs=0.0)
    assert {type(value) for values in found for value in values.values()} == {float}


def test_a_trial_whose_first_loss_is_not_finite_diverges_like_any_other() -> None:
    """The check does not refuse it."""
    stack = StackTrainer(2)
    events = run(
        stack,
        spec(workload="lone", options={"why": "overflows"}),
        spec("b", workload="lone", options={"why": "overflows"}),
    )
    assert list(stack.refusals.values()) == [""]
    assert events == [Finished(key="a", diverged=True), Finished(key="b", diverged=True)]
