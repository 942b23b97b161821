"""Updates captured as graphs, here of recorded operations: what replays, and what happens to
updates that cannot be captured and to captures that break off.
"""

import gc
import logging
import pickle
import re
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch

import recorded_graphs
from gradnoise.training.graphs import CaptureError
from gradnoise.training.stack import StackTrainer
from gradnoise.training.stacked_model import StackedModel
from gradnoise.training.trial import Failed, TrialSpec
from recorded_graphs import Cuda
from trial_runs import curve, run, spec

OUT_OF_MEMORY = torch.OutOfMemoryError("CUDA out of memory")


@pytest.fixture(autouse=True)
def _probes(probes: None) -> None:
    """Every test here uses the probe workloads."""


@pytest.fixture
def cuda() -> Iterator[Cuda]:
    with recorded_graphs.on_cpu() as cuda:
        yield cuda


def trials(n: int, **changes: Any) -> list[TrialSpec]:
    return [spec(f"{i}", seed=i, **changes) for i in range(n)]


def curves(trainer: StackTrainer, some: list[TrialSpec]) -> list[list[Mapping[str, float]]]:
    """Train the trials to their end and return the values of each."""
    events = run(trainer, *some)
    return [curve(events, trial.key) for trial in some]


@pytest.mark.parametrize(
    ("technique", "params"),
    [
        ("none", {"clip_norm": 1.0, "momentum": 0.9, "lr_warmup_steps": 5}),
        ("sam", {"rho": 0.1}),
        ("ema", {"ema_decay": 0.9}),
    ],
)
def test_replays_give_the_results_of_eager_updates(
    technique: str, params: dict[str, Any], cuda: Cuda
) -> None:
    """Each update changes the same memory, and reads what differs from it from tables."""
    some = trials(3, technique=technique, params={"lr": 0.05} | params)
    stack = StackTrainer(3)
    found = curves(stack, some)
    assert len(cuda.graphs) == 1
    assert not stack.eager
    eager = StackTrainer(3, eager="it broke off before.")
    assert found == curves(eager, some)
    assert len(cuda.graphs) == 1


def test_a_loss_that_copies_from_the_host_trains_eagerly_and_the_log_gives_the_reason(
    cuda: Cuda, caplog: pytest.LogCaptureFixture
) -> None:
    """No capture begins, in later stacks of the form either."""
    some = trials(3, workload="copies")
    stack = StackTrainer(3)
    with caplog.at_level(logging.WARNING, logger="gradnoise"):
        found = curves(stack, some)
        assert found == curves(StackTrainer(3, eager="as configured."), some)
    assert not cuda.graphs
    (reason,) = stack.eager.values()
    assert re.fullmatch(
        r"an update waits for the device: at .*: RuntimeError: called a synchronizing operation, "
        r"which copies numbers in",
        reason,
    )
    assert [record.getMessage() for record in caplog.records] == [
        f"Trials of copies train without a CUDA graph: {reason}"
    ]


@pytest.mark.parametrize("technique", ["annealed", "preconditioned"])
def test_noise_that_the_kernel_of_the_gpu_does_not_draw_is_a_reason(
    technique: str, cuda: Cuda, caplog: pytest.LogCaptureFixture
) -> None:
    """As where the kernel cannot be built."""
    some = trials(2, technique=technique, params={"lr": 0.05, "eta": 0.01, "gamma": 0.55})
    stack = StackTrainer(2)
    with caplog.at_level(logging.WARNING, logger="gradnoise"):
        curves(stack, some)
    assert not cuda.graphs
    assert set(stack.eager.values()) == {"the GPU's kernel does not draw the noise."}
    assert caplog.records[-1].getMessage().endswith(": the GPU's kernel does not draw the noise.")


def test_an_update_that_raises_in_a_capture_alone_trains_eagerly(
    cuda: Cuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = StackedModel.step

    def refused(model: StackedModel, i: Any) -> None:
        if cuda.graphs and not isinstance(i, int):
            raise RuntimeError("not permitted in a capture")
        step(model, i)

    monkeypatch.setattr(StackedModel, "step", refused)
    some = trials(2)
    stack = StackTrainer(2)
    found = curves(stack, some)
    (reason,) = stack.eager.values()
    assert reason.startswith("an update raises in the capture: ")
    assert found == curves(StackTrainer(2, eager="as configured."), some)


def test_a_capture_that_breaks_off_leaves_the_trainer(cuda: Cuda) -> None:
    """The process is not sound: neither the trial nor the size of the stack is at fault."""
    cuda.end_error = RuntimeError("operation failed due to a previous error during capture")
    stack = StackTrainer(2)
    for trial in trials(2):
        stack.admit(trial)
    with pytest.raises(CaptureError, match=r"^the capture of an update broke off: .*previous"):
        stack.advance()
    assert len(cuda.graphs) == 1
    assert str(pickle.loads(pickle.dumps(CaptureError("why")))) == "why"


@pytest.mark.parametrize("at", ["warm-up", "capture"])
def test_memory_that_runs_out_before_the_first_replay_halves_the_stack(
    at: str, cuda: Cuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, n_captures = StackedModel.step, 0

    def tight(model: StackedModel, i: Any) -> None:
        nonlocal n_captures
        is_captured = bool(cuda.graphs) and len(cuda.graphs) > n_captures
        n_captures = len(cuda.graphs)
        if len(model.weights) > 2 and (at == "warm-up" or is_captured):
            raise OUT_OF_MEMORY
        step(model, i)

    some = trials(4)
    expected = curves(StackTrainer(4), some)
    cuda.graphs.clear()
    monkeypatch.setattr(StackedModel, "step", tight)
    stack = StackTrainer(4)
    assert curves(stack, some) == expected
    assert not stack.eager


def test_no_failed_model_is_alive_when_the_next_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model of each failed epoch, and those that were kept of other forms, are gone without
    the garbage collector, when the epoch is trained again at its full size and when in parts.
    """
    models: list[weakref.ref[StackedModel]] = []
    alive: list[int] = []
    build, update = StackedModel.__init__, StackedModel.update
    room = 8

    def built(model: StackedModel, *arguments: Any, **options: Any) -> None:
        alive.append(sum(ref() is not None for ref in models))
        models.append(weakref.ref(model))
        build(model, *arguments, **options)

    def tight(model: StackedModel, i: int) -> None:
        if len(model.weights) > room and i == 1:
            raise OUT_OF_MEMORY
        update(model, i)

    monkeypatch.setattr(StackedModel, "__init__", built)
    monkeypatch.setattr(StackedModel, "update", tight)
    stack = StackTrainer(12)
    for trial in [*trials(8), *(spec(f"a{i}", seed=i, optimizer="adam") for i in range(2))]:
        stack.admit(trial)
    gc.disable()
    try:
        stack.advance()
        assert alive == [0, 1]
        room = 3
        events = stack.advance()
    finally:
        gc.enable()
    assert not any(isinstance(event, Failed) for event in events)
    # eight again, four twice, four times two; then the pair of the other form
    assert alive[2:] == [0, 0, 0, 0, 1]


@pytest.mark.parametrize(("room", "parts"), [(5, [5, 4]), (4, [5, 5, 3, 2, 3, 1])])
def test_a_stack_that_does_not_fit_any_more_shrinks_to_the_largest_size_that_fitted(
    room: int, parts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five trials fitted; with four more, nine do not: they train as five and four, and as before
    in halves where five do not fit either.
    """
    sizes: list[int] = []
    train = StackedModel.train
    limit = 5

    def tight(model: StackedModel, epoch: Any) -> Any:
        sizes.append(len(model.weights))
        if len(model.weights) > limit:
            raise RuntimeError("CUDA error: out of memory")
        return train(model, epoch)

    monkeypatch.setattr(StackedModel, "train", tight)
    stack = StackTrainer(9)
    for trial in trials(9)[:5]:
        stack.admit(trial)
    stack.advance()
    for trial in trials(9)[5:]:
        stack.admit(trial)
    limit = room
    stack.advance()
    assert sizes == [5, 9, 9, *parts]
