"""The stacked trainer: isolation to the last bit, and memory that runs out."""

import logging
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradnoise.training import stack_check, stacked_model
from gradnoise.training.single import SingleTrainer
from gradnoise.training.stack import StackTrainer, rows_for
from gradnoise.training.stacked_model import StackedModel
from gradnoise.training.stacked_run import StackedRun, rows
from gradnoise.training.trial import Finished
from gradnoise.workloads.base import StackedMeasure
from trial_runs import curve, run, spec

NOISY = {"techniques": ("annealed",), "params": {"lr": 0.01, "eta": 0.003, "gamma": 0.55}}


@pytest.fixture(autouse=True)
def _probes(probes: None) -> None:
    """Every test here uses the probe workloads."""


def assert_near(
    found: list[Mapping[str, float]], expected: list[Mapping[str, float]], tolerance: float
) -> None:
    assert len(found) == len(expected)
    for values, other in zip(found, expected, strict=True):
        assert values == pytest.approx(other, rel=tolerance, abs=0.0)


@pytest.mark.parametrize(
    ("workload", "tolerance"),
    [
        ("exact", 0.0),
        pytest.param("mlp", 0.0, marks=pytest.mark.slow),
        pytest.param("normed", 1e-10, marks=pytest.mark.slow),
    ],
)
def test_place_neighbours_and_time_of_entry_change_no_bit(workload: str, tolerance: float) -> None:
    """Alone, first of eight, and as the last of 64 entering after two epochs; one neighbour
    overflows.

    For BatchNorm under vmap, torch sums in another order: in float64 about 2^-53 per update.
    """
    shared: dict[str, Any] = {"workload": workload}
    if workload == "mlp":
        pytest.importorskip("sklearn")  # for its digits
        shared["options"] = {"depth": 6, "train_examples": 100, "batch_size": 50}
    trial = spec(budget_epochs=4, **NOISY, **shared)
    neighbours = [
        spec(f"n{i}", seed=10 + i, budget_epochs=6, params={"lr": 0.001 * 1.2**i}, **shared)
        for i in range(62)
    ]
    wild = spec("wild", budget_epochs=6, params={"lr": 1e30}, **shared)
    expected = curve(run(StackTrainer(1), trial))
    assert len(expected) == 4
    assert_near(curve(run(StackTrainer(8), trial, wild, *neighbours[:6])), expected, tolerance)
    late = StackTrainer(64)
    for other in (*neighbours[:4], wild, *neighbours[4:]):
        late.admit(other)
    events = [*late.advance(), *late.advance()]
    assert Finished(key="wild", diverged=True) in [*events, *late.advance()]
    late.release(neighbours[5].key)
    assert_near(curve(run(late, trial)), expected, tolerance)


def test_trials_of_several_forms_train_side_by_side_in_stacks_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their results are those of stacks of one form; each form keeps its model between epochs."""
    forms = {
        "sgd": {"optimizer": "sgd"},
        "adam": {"optimizer": "adam"},
        "lone": {"optimizer": "sgd", "together": 1},
        "pairs": {"optimizer": "adagrad", "together": 2},
    }
    trials = [
        spec(f"{form}{i}", seed=i, params={"lr": 0.01}, **changes)
        for i in range(3)
        for form, changes in forms.items()
    ]
    built: list[tuple[str, int]] = []
    build = StackedModel.__init__

    def count(model: StackedModel, epoch: Any, **options: Any) -> None:
        built.append((epoch.runs[0].spec.optimizer, len(epoch.runs)))
        build(model, epoch, **options)

    apart: dict[str, list[Mapping[str, float]]] = {}
    for form in forms:
        of_form = [trial for trial in trials if trial.key[:-1] == form]
        events = run(StackTrainer(3), *of_form)
        apart |= {trial.key: curve(events, trial.key) for trial in of_form}
    monkeypatch.setattr(StackedModel, "__init__", count)
    together = run(StackTrainer(len(trials)), *trials)
    assert {trial.key: curve(together, trial.key) for trial in trials} == apart
    assert [(name, n) for name, n in built if name != "adagrad"] == [("sgd", 3), ("adam", 3)]
    assert {n for name, n in built if name == "adagrad"} == {1, 2}


def test_a_neighbours_clipping_leaves_a_gradient_alone_whose_norm_overflows() -> None:
    """In float32 a norm beyond 1.8e19 is infinite while its coordinates are finite. The small
    learning rate compensates the large loss.
    """
    params = {"lr": 1e-21, "scale": 1e19}
    trial, clipped = (
        spec(workload="narrow", params=params),
        spec("clipped", workload="narrow", params=params | {"clip_norm": 1.0}),
    )
    expected = curve(run(SingleTrainer(), trial))
    assert len(expected) == 3
    assert_near(curve(run(StackTrainer(2), trial, clipped)), expected, 1e-5)


def test_what_the_construction_of_a_model_draws_depends_on_the_trial_alone() -> None:
    """Alone, in a stack, and after other draws from the global generators of the process."""
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
def test_a_model_with_buffers_and_torch_dropout_stacks(technique: str) -> None:
    """Each trial has its own running means of BatchNorm, and `torch.nn.Dropout` draws as it does
    alone, under every technique.
    """
    arms = {"none": {}, "annealed": {"eta": 0.3, "gamma": 0.55}, "dropout": {"rate": 0.5}}
    trials = [
        spec(
            name,
            workload="normed",
            technique=name,
            params={"lr": 0.05} | params,
            seed=i,
            budget_epochs=4,
        )
        for i, (name, params) in enumerate(arms.items())
    ]
    stack = StackTrainer(3)
    events = run(stack, *trials)
    assert list(stack.refusals.values()) == [""]
    alone = curve(
        run(SingleTrainer(1), next(trial for trial in trials if trial.key == technique)), technique
    )
    for found, expected in zip(curve(events, technique), alone, strict=True):
        assert found == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_an_epoch_that_does_not_fit_into_memory_is_trained_again_then_in_halves(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The device has room for three trials and fails in the middle of the second epoch, also when
    other models are freed; the results are those of a device with more room.
    """
    sizes: list[int] = []
    update = StackedModel.update

    def tight(model: StackedModel, i: int) -> None:
        n = len(model.weights)
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
        spec(f"{name}{i}", technique=name, params={"lr": 0.05, "momentum": 0.9} | params, seed=i)
        for name, params in techniques.items()
        for i in range(2)
    ]
    expected = run(StackTrainer(6), *trials)
    monkeypatch.setattr(StackedModel, "update", tight)
    with caplog.at_level(logging.WARNING, logger="gradnoise"):
        events = run(StackTrainer(6), *trials)
    assert sizes == [6, 6, 6, 3, 3, 3, 3]
    assert "Memory does not hold 6 trials as one model; 3 at once from now on." in caplog.text
    for trial in trials:
        assert curve(events, trial.key) == curve(expected, trial.key)


@pytest.mark.parametrize("workload", ["normed", "odd"])
def test_memory_that_runs_out_in_the_metrics_leaves_the_model_unchanged(
    workload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The repeated epoch runs in training mode, with dropout and BatchNorm's batch statistics."""
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
def test_memory_that_runs_out_in_the_check_does_not_refuse_the_form(
    n_failures: int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check is repeated after other stacks are freed; the trial trains either way."""
    measure_of, failures = (
        stack_check.measure_of,
        [torch.OutOfMemoryError("CUDA out of memory") for _ in range(n_failures)],
    )

    def tight(opened: StackedRun) -> StackedMeasure:
        if failures:
            raise failures.pop()
        return measure_of(opened)

    trial, stack = spec(workload="normed"), StackTrainer(2)
    monkeypatch.setattr(stack_check, "measure_of", tight)
    assert_near(curve(run(stack, trial)), curve(run(SingleTrainer(), trial)), 1e-10)
    assert list(stack.refusals.values()) == [reason]


def test_a_trial_that_does_not_fit_into_memory_alone_fails() -> None:
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
def test_a_part_is_small_on_a_cpu_and_on_a_gpu_a_power_of_two_at_most_a_quarter_empty(
    n: int,
) -> None:
    rows = rows_for(n, torch.device("cuda"))
    assert rows.bit_count() == 1
    assert min(n, rows) >= 0.75 * rows
    assert rows_for(n, torch.device("cpu")) == min(n, 32)
