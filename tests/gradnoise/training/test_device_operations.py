"""An update of a stack works on the device alone, as a capture as a CUDA graph requires.

Its tensors are on torch's `meta` device, which has the operations of a device without its numbers:
any other device, and any number that the host would read, shows.
"""

import itertools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gradnoise._kernels import backends
from gradnoise.techniques.registry import TECHNIQUES
from gradnoise.training.setup import prepare
from gradnoise.training.stacked_epoch import StackedEpoch
from gradnoise.training.stacked_model import StackedModel
from gradnoise.training.stacked_run import StackedRun
from gradnoise.training.trial import TrialSpec
from gradnoise.workloads import Workload
from gradnoise.workloads.registry import OPTIMIZERS, WORKLOADS

META = torch.device("meta")
HAS_BABI = Path(os.environ.get("GRADNOISE_DATA", ""), "babi", "en-valid").is_dir()
PARAMS: Mapping[str, Mapping[str, float]] = {
    "annealed": {"eta": 0.01, "gamma": 0.55},
    "anticorrelated": {"std": 0.1},
    "constant": {"std": 0.1},
    "dropout": {"rate": 0.2},
    "preconditioned": {"eta": 0.01, "gamma": 0.55},
    "weight_noise": {"eta": 0.01, "gamma": 0.55},
}
"""Of techniques without defaults."""

OPTIONS: Mapping[str, Mapping[str, object]] = {
    "char-lm": {"layers": 1, "heads": 2, "head_width": 4, "context": 8},
    "memn2n": {"task": 1, "dim": 4, "hops": 1, "sentences": 5},
    "mlp": {"dataset": "digits", "depth": 2, "width": 8},
    "neural-gpu": {"longest": 2, "maps": 4, "batch_size": 10},
    "neural-programmer": {"train_examples": 100, "dim": 4},
    "nram": {"task": "increment", "longest": 1, "size": 4, "steps": 2, "hidden": 4},
}


COPIES = ("aten::_to_copy", "aten::copy_", "aten::copy")


class OnTheDevice(TorchDispatchMode):
    """Raises at an operation on a tensor of another device, and at a copy from there.

    Without dimensions, it may be a number of the program, which the operation takes as it is.
    """

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        results = operation(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs, results))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        devices = {tensor.device for tensor in tensors}
        is_copied = operation.name().partition(".")[0] in COPIES and len(devices) > 1
        if is_copied or any(tensor.device != META and tensor.dim() for tensor in tensors):
            raise AssertionError(f"{operation} has tensors on {devices}")
        return results


class Rows:
    """Stands for the rows of the noise kernel on a GPU: it adds the standard deviations.

    Preconditioned noise also changes the mean squares.
    """

    def __init__(self, rows: torch.Tensor, _runs: object, states: torch.Tensor | None) -> None:
        self._rows, self._states = rows, states

    def set_keys(self, keys: object) -> None:
        """Do nothing: nothing is drawn."""

    def add_(self, ts: torch.Tensor, stds: torch.Tensor, rules: torch.Tensor | None = None) -> None:
        assert (rules is None) == (self._states is None)
        if rules is not None and self._states is not None:
            self._states.mul_(rules[0][:, None]).addcmul_(self._rows, self._rows)
        self._rows.add_((stds + 0 * ts)[:, None].to(self._rows.dtype))


@pytest.fixture(autouse=True)
def _kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "is_on_gpu", lambda _tensor: True)
    monkeypatch.setattr(backends, "cuda", lambda: SimpleNamespace(Rows=Rows))


def update(workload: str, optimizer: str, technique: str, **options: object) -> None:
    """Make an update of three trials on the device, one of them clipped and with a warm-up."""
    params = {"lr": 0.01, **PARAMS.get(technique, {})}
    runs = []
    for seed, more in enumerate(
        ({}, {}, {"clip_norm": 1, "clip_value": 0.1, "lr_warmup_steps": 9})
    ):
        setup = prepare(
            TrialSpec(
                key=f"{seed}",
                workload=workload,
                options=OPTIONS.get(workload, {}),
                techniques=(technique,),
                optimizer=optimizer,
                params=params | more,
                seed=seed,
                budget_epochs=2,
            )
        )
        assert isinstance(setup.workload, Workload)
        runs.append(StackedRun(setup, setup.workload, META))
    model = StackedModel(epoch := StackedEpoch(runs, 4), may_capture=False)
    model.start(epoch)
    with OnTheDevice():
        model.step(model.counter)


def triples() -> list[Any]:
    """Return `mlp` with each technique and every other workload with each second one, slow, and the
    optimizers in turn.
    """
    optimizers = itertools.cycle(sorted(OPTIMIZERS.names()))
    techniques, found = sorted(TECHNIQUES.names()), []
    for k, workload in enumerate(sorted(OPTIONS)):
        is_slow = workload != "mlp"
        places = getattr(WORKLOADS.find(workload), "places", ())
        for technique in techniques[k % 2 :: 2] if is_slow else techniques:
            optimizer = next(optimizers)
            if (technique, OPTIMIZERS.find(optimizer).evaluated is None) == ("ema", False):
                optimizer = next(optimizers)  # the other keeps an average of its own
            if set(contribution_places(technique)) <= set(places):
                marks = (pytest.mark.slow,) if is_slow else ()
                found.append(pytest.param(workload, optimizer, technique, marks=marks))
    return found


def contribution_places(technique: str) -> tuple[str, ...]:
    return TECHNIQUES.find(technique).contribution(PARAMS.get(technique, {})).places


@pytest.mark.parametrize(("workload", "optimizer", "technique"), triples())
def test_an_update_works_on_the_device_alone(workload: str, optimizer: str, technique: str) -> None:
    if workload == "mlp":
        pytest.importorskip("sklearn")  # for its digits
    if workload == "memn2n" and not HAS_BABI:
        pytest.skip("needs a folder babi/en-valid in $GRADNOISE_DATA")
    update(workload, optimizer, technique)


def test_every_declared_workload_and_optimizer_is_among_them() -> None:
    workloads, optimizers, _ = zip(*(each.values for each in triples()), strict=True)
    assert set(workloads) == OPTIONS.keys() == set(WORKLOADS.names())
    assert set(optimizers) == set(OPTIMIZERS.names())


@pytest.mark.usefixtures("probes")
@pytest.mark.parametrize(
    ("offend", "message"),
    [
        (lambda _: torch.tensor(0.5).to(META), "_to_copy.default has tensors on"),
        (lambda _: torch.ones(2) + 1, "ones.default has tensors on"),
        (lambda losses: losses[0, 0].item(), "cannot be called on meta tensors"),
        (lambda losses: losses.tolist(), "meta"),
    ],
)
def test_an_update_that_leaves_the_device_is_found(
    offend: Callable[[torch.Tensor], object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It copies a number, computes on the host, or reads one or many numbers back."""
    monkeypatch.setattr(StackedModel, "_clip", lambda model: offend(model.losses))
    with pytest.raises((AssertionError, RuntimeError, NotImplementedError), match=message):
        update("exact", "sgd", "none")
