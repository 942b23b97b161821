"""The parts of a trial's epoch: model and data, the order of the examples, the splits to measure.

They are the same for a separate model and in a stack.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from gradnoise._streams import permutation
from gradnoise.techniques.dropout_layers import adopt, dropped
from gradnoise.training.randomness import Randomness
from gradnoise.training.setup import Setup
from gradnoise.training.trial import TrialSpec
from gradnoise.workloads.base import Batch, Splits, Workload
from gradnoise.workloads.losses import check_is_used


@dataclass(frozen=True, kw_only=True)
class OpenedModel:
    """A trial's model with its initial weights, and its data.

    Args:
        model: On the device, in training mode.
        splits: On the device.
        dropped: The rate and the activations' shape at each layer that drops activations.
    """

    model: torch.nn.Module
    splits: Splits
    dropped: dict[str, tuple[float, torch.Size]]


def open_model(
    setup: Setup, workload: Workload, device: torch.device, randomness: Randomness
) -> OpenedModel:
    """Open a trial's model on a device; what its construction draws depends only on the trial.

    Raises:
        ValueError: If the techniques drop activations and the model has no layer for that, they
            replace the loss and the workload does not allow it, or the training data do not fill
            one batch.
    """
    n_steps(workload)  # raises if the data do not fill one batch
    splits = workload.data().to(device)
    with randomness.lent():
        model = adopt(workload.model()).train()
        workload.initialise(model, setup.spec.seed)
        model.to(device)
        masks = setup.contribution.activations
        found = dropped(model, masks, lambda: workload.loss(model, first_batch(workload, splits)))
        if setup.contribution.loss is not None:
            with evaluating(model):
                check_is_used(lambda: workload.loss(model, first_batch(workload, splits)))
    return OpenedModel(model=model, splits=splits, dropped=found)


def n_steps(workload: Workload) -> int:
    """Return the updates in a pass over the training data.

    Raises:
        ValueError: If the training data do not fill one batch.
    """
    n_examples = len(workload.data().train[0])
    if n_examples < workload.batch_size:
        raise ValueError(
            f"batch_size must be at most {n_examples}, the training examples, but got "
            f"batch_size={workload.batch_size}."
        )
    return n_examples // workload.batch_size


def epoch_steps(workload: Workload, spec: TrialSpec) -> int:
    """Return the updates in an epoch of a trial: `report_every`, or those of one pass."""
    return spec.report_every or n_steps(workload)


def epoch_order(workload: Workload, spec: TrialSpec, epoch: int) -> torch.Tensor:
    """Return the examples of each update of an epoch, [updates, batch_size].

    Epochs are counted from 0. A pass over the data leaves out the examples that fill no whole
    batch; an epoch of `report_every` updates continues the pass that the one before it began.
    """
    n, of_pass = epoch_steps(workload, spec), n_steps(workload)
    first, last = epoch * n, (epoch + 1) * n
    passes = range(first // of_pass, -(-last // of_pass))
    order = torch.cat([_pass_order(workload, spec.seed, each) for each in passes])
    start = first - passes[0] * of_pass
    return order[start : start + n]


def _pass_order(workload: Workload, seed: int, number: int) -> torch.Tensor:
    n = n_steps(workload) * workload.batch_size
    order = permutation(seed, "order", number, len(workload.data().train[0]))
    return order[:n].view(-1, workload.batch_size)


def first_batch(workload: Workload, splits: Splits) -> Batch:
    """Return the first examples of the training data, as many as an update takes."""
    return tuple(part[: workload.batch_size] for part in splits.train)


def splits_measured(spec: TrialSpec) -> tuple[str, ...]:
    """Return the names of the splits that a trial is measured on."""
    return ("validation", "test") if spec.with_test else ("validation",)


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode within the context, and into training mode at its end.

    Training mode is restored after an exception too.
    """
    model.eval()
    try:
        yield
    finally:
        model.train()
