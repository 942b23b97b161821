"""The stacked trainer: isolation to the last bit, what does not stack, and memory that runs out."""

import logging
import re
from collections.abc import Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradnoise.training import stacked_model, stacked_run
from gradnoise.training.single import SingleTrainer
from gradnoise.training.stack import StackTrainer, rows_for
from gradnoise.training.stacked_model import StackedModel
from gradnoise.training.stacked_run import StackedRun, rows
from gradnoise.training.trial import Finished
from gradnoise.workloads.base import StackedMeasure
from trial_runs import curve, run, spec

NOISY = {"technique": "annealed", "params": {"lr": 0.01, "eta": 0.003, "gamma": 0.55}}


@pytest.fixture(autouse=True)
def _probes(probes: None) -> None:
    """Every test here uses the probe workloads."""


def assert_near(
    found: list[Mapping[str, float]], expected: list[Mapping[str, float]], tolerance: float
) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=tolerance, abs=0.0)


@pytest.mark.parametrize(
    ("workload", "tolerance"), [("exact", 0.0), ("mlp", 0.0), ("normed", 1e-10)]
)
def test_place_neighbours_and_time_of_entry_change_no_bit(workload: str, tolerance: float) -> None:
    """Alone, first of eight, and sixth of 64 entering after two epochs; a neighbour's learning rate
    makes it overflow on the way.

    Where vmap makes one channel of BatchNorm of each member's, torch sums in another order: in
    float64 some 2^-53 an update.
    """
    if workload == "mlp":
        pytest.importorskip("sklearn")  # whose digits it learns
    trial = spec(workload=workload, budget_epochs=4, **NOISY)
    neighbours = [
        spec(
            f"n{i}", workload=workload, seed=10 + i, budget_epochs=6, params={"lr": 0.001 * 1.2**i}
        )
        for i in range(62)
    ]
    wild = spec("wild", workload=workload, budget_epochs=6, params={"lr": 1e30})
    expected = curve(run(StackTrainer(1), trial))
    assert len(expected) == 4
    assert_near(curve(run(StackTrainer(8), trial, wild, *neighbours[:6])), expected, tolerance)
    late = StackTrainer(64)
    for one in (*neighbours[:4], wild, *neighbours[4:]):
        late.admit(one)
    events = [*late.advance(), *late.advance()]
    assert Finished(key="wild", diverged=True) in [*events, *late.advance()]
    late.release(neighbours[5].key)
    assert_near(curve(run(late, trial)), expected, tolerance)


def test_a_neighbours_clipping_leaves_a_gradient_alone_whose_norm_overflows() -> None:
    """In float32 a norm beyond 1.8e19 is infinite, its coordinates are not; so much smaller a rate
    makes good for so much larger a loss.
    """
    params = {"lr": 1e-21, "scale": 1e19}
    trial, clipped = (
        spec(workload="narrow", params=params),
        spec("clipped", workload="narrow", params=params | {"clip_norm": 1.0}),
    )
    expected = curve(run(SingleTrainer(), trial))
    assert len(expected) == 3
    assert_near(curve(run(StackTrainer(2), trial, clipped)), expected, 1e-5)


def test_what_a_model_draws_as_it_is_made_is_the_trials_own() -> None:
    """Alone, in a stack, and after whatever else drew from the global generators in the process."""
    trial = spec(workload="drawn")
    expected = curve(run(SingleTrainer(), trial))
    torch.rand(3)
    found = curve(
        run(
            StackTrainer(4), trial, *(spec(f"n{i}", workload="drawn", seed=2 + i) for i in range(3))
        )
    )
    assert_near(found, expected, 1e-10)


@pytest.mark.parametrize("technique", ["none", "annealed", "dropout"])
def test_buffers_and_dropout_of_the_models_own_stack(technique: str) -> None:
    """BatchNorm's running means are each trial's own, and `torch.nn.Dropout` draws as it does
    alone, under every technique.
    """
    own = {"none": {}, "annealed": {"eta": 0.3, "gamma": 0.55}, "dropout": {"rate": 0.5}}
    trials = [
        spec(
            name,
            workload="normed",
            technique=name,
            params={"lr": 0.05} | params,
            seed=i,
            budget_epochs=4,
        )
        for i, (name, params) in enumerate(own.items())
    ]
    stack = StackTrainer(3)
    events = run(stack, *trials)
    assert list(stack.refusals.values()) == [""]
    alone = curve(
        run(SingleTrainer(1), next(one for one in trials if one.key == technique)), technique
    )
    for found, expected in zip(curve(events, technique), alone, strict=True):
        assert found == pytest.approx(expected, rel=1e-10, abs=1e-12)


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
            r"its loss or its metrics draw random numbers, which are to be each trial's own\.",
        ),
        ("unused", r"extra takes no part in its loss, and such a parameter must stay as it is\."),
        ("frozen", r"lstm\.weight takes no gradient, and such a parameter must stay as it is\."),
        ("wrong", r"as one model it would give another value for the loss than alone\."),
        ("mismeasures", r"as one model it would give another value for error than alone\."),
        ("mixes", r"as one model it would give another value for error than alone\."),
        ("measures more", r"as one model it would give other metrics than alone: error, more\."),
    ],
)
def test_what_does_not_stack_trains_alone_and_the_log_says_why(
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
        assert curve(events, trial.key) == curve(run(SingleTrainer(1), trial), trial.key)


@pytest.mark.parametrize("metric", ["scalar", "one", "float", "bool", "int"])
def test_a_metric_of_any_kind_that_counts_alone_counts_in_a_stack(metric: str) -> None:
    """In a model that counts its calls, too: what finds out whether it stacks leaves no trace in
    it.
    """
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
    assert_near(found, curve(run(SingleTrainer(), trial)), 1e-10)
    assert {type(value) for values in found for value in values.values()} == {float}


def test_a_trial_whose_first_loss_is_not_finite_diverges_like_any_other() -> None:
    """It says nothing against stacking."""
    stack = StackTrainer(2)
    events = run(
        stack,
        spec(workload="lone", options={"why": "overflows"}),
        spec("b", workload="lone", options={"why": "overflows"}),
    )
    assert list(stack.refusals.values()) == [""]
    assert events == [Finished(key="a", diverged=True), Finished(key="b", diverged=True)]


def test_an_epoch_that_memory_does_not_hold_is_trained_anew_in_halves(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A device with room for three, that finds it out in the middle of the second epoch; every
    member's result is as undisturbed.
    """
    sizes: list[int] = []
    update = StackedModel.update

    def tight(model: StackedModel, i: int) -> None:
        n = len(model._weights)
        if n > 3 and len(sizes) > 1 and i == 1:
            raise torch.OutOfMemoryError(f"CUDA out of memory with {n} trials")
        if i == 0:
            sizes.append(n)
        update(model, i)

    techniques = {
        "none": {},
        "annealed": {"eta": 0.3, "gamma": 0.55},
        "preconditioned": {"eta": 0.001, "gamma": 0.55, "damping": 0.01},
    }
    trials = [
        spec(f"{name}{i}", technique=name, params={"lr": 0.05, "momentum": 0.9} | own, seed=i)
        for name, own in techniques.items()
        for i in range(2)
    ]
    expected = run(StackTrainer(6), *trials)
    monkeypatch.setattr(StackedModel, "update", tight)
    with caplog.at_level(logging.WARNING, logger="gradnoise"):
        events = run(StackTrainer(6), *trials)
    assert sizes == [6, 6, 3, 3, 3, 3]
    assert "Memory does not hold 6 trials as one model; 3 at once from now on." in caplog.text
    for trial in trials:
        assert curve(events, trial.key) == curve(expected, trial.key)


@pytest.mark.parametrize("workload", ["normed", "odd"])
def test_memory_that_runs_out_in_the_metrics_leaves_the_model_as_it_was(
    workload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained anew, it trains: with BatchNorm by the batch, and with dropout."""
    trials = [spec(f"{i}", workload=workload, params={"lr": 0.01}, seed=i) for i in range(3)]
    expected = run(StackTrainer(3), *trials)
    n_calls = 0

    def tight(tensors: Mapping[str, torch.Tensor], which: slice) -> Mapping[str, torch.Tensor]:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return rows(tensors, which)

    monkeypatch.setattr(stacked_model, "rows", tight)
    events = run(StackTrainer(3), *trials)
    assert n_calls > 2
    for trial in trials:
        assert_near(curve(events, trial.key), curve(expected, trial.key), 1e-10)


@pytest.mark.parametrize(
    ("n_failures", "reason"), [(1, ""), (2, "memory does not hold two of them.")]
)
def test_memory_that_runs_out_as_a_form_is_tried_says_nothing_of_the_form(
    n_failures: int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again once the stacks of other forms are gone; the trial trains either way."""
    measure_of, failures = (
        stacked_run.measure_of,
        [torch.OutOfMemoryError("CUDA out of memory") for _ in range(n_failures)],
    )

    def tight(opened: StackedRun) -> StackedMeasure:
        if failures:
            raise failures.pop()
        return measure_of(opened)

    trial, stack = spec(workload="normed"), StackTrainer(2)
    monkeypatch.setattr(stacked_run, "measure_of", tight)
    assert_near(curve(run(stack, trial)), curve(run(SingleTrainer(), trial)), 1e-10)
    assert list(stack.refusals.values()) == [reason]


def test_a_trial_that_memory_does_not_hold_alone_fails() -> None:
    stack = StackTrainer(2)
    trial = spec()
    stack.admit(trial)
    stack.advance()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            StackedModel,
            "update",
            lambda *_: (_ for _ in ()).throw(
                RuntimeError("DefaultCPUAllocator: can't allocate memory\nBuy some")
            ),
        )
        (event,) = stack.advance()
    # a Failed
    assert event.summary == "RuntimeError: DefaultCPUAllocator: can't allocate memory"  # type: ignore[union-attr]


@given(n=st.integers(1, 5_000))
def test_a_piece_is_small_on_a_cpu_and_on_a_gpu_a_power_of_two_at_most_a_quarter_empty(
    n: int,
) -> None:
    rows = rows_for(n, torch.device("cuda"))
    assert rows.bit_count() == 1
    assert min(n, rows) >= 0.75 * rows
    assert rows_for(n, torch.device("cpu")) == min(n, 32)
