"""The parts of a trial's epoch: model and data, the order of the examples, the splits to measure.

They are the same for a separate model and in a stack.
"""

import functools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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

MADE_TOGETHER = 16
"""Orders that a thread makes one after the other: handing over each takes time too."""


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
    """Return the examples of each update of an epoch, as `Order.of` does, as int64."""
    return Order(workload, spec).of(epoch).long()


class Order:
    """The order in which a trial takes its examples; the passes of the latest epoch are kept.

    Args:
        workload: The trial's workload.
        spec: The trial.
        is_pinned: Whether orders lie in memory from which a GPU copies without the host's help.

    Attributes:
        dtype: The type of the orders.
    """

    def __init__(self, workload: Workload, spec: TrialSpec, *, is_pinned: bool = False) -> None:
        self._seed, self._batch_size = spec.seed, workload.batch_size
        self._n_examples = len(workload.data().train[0])
        self._of_pass, self._of_epoch = n_steps(workload), epoch_steps(workload, spec)
        self._is_pinned = is_pinned
        self.dtype = torch.int32 if self._n_examples < 2**31 else torch.int64
        self._passes: dict[int, tuple[torch.Tensor, Future[None] | None]] = {}

    def of(self, epoch: int) -> torch.Tensor:
        """Return the examples of each update of an epoch, [updates, batch_size].

        Epochs are counted from 0. A pass over the data leaves out the examples that fill no whole
        batch; an epoch of `report_every` updates continues the pass that the one before it began.
        """
        numbers = self._numbers(epoch)
        passes = [self._pass(number) for number in numbers]
        for number in [number for number in self._passes if number < numbers[0]]:
            del self._passes[number]
        start = epoch * self._of_epoch - numbers[0] * self._of_pass
        order = passes[0] if len(passes) == 1 else torch.cat(passes)
        return order[start : start + self._of_epoch]

    def missing(self, epoch: int) -> list[int]:
        """Return the numbers of the passes of an epoch that are neither made nor under way."""
        return [number for number in self._numbers(epoch) if number not in self._passes]

    def begin(self) -> torch.Tensor:
        """Return memory for a pass."""
        return torch.empty(
            self._of_pass, self._batch_size, dtype=self.dtype, pin_memory=self._is_pinned
        )

    def fill(self, order: torch.Tensor, number: int) -> None:
        """Write a pass into its memory."""
        drawn = permutation(self._seed, "order", number, self._n_examples)
        order.view(-1).numpy()[:] = drawn[: order.numel()].numpy()

    def expect(self, order: torch.Tensor, number: int, made: Future[None]) -> None:
        """Take a pass that is made when the future is done."""
        self._passes[number] = order, made

    def _pass(self, number: int) -> torch.Tensor:
        order, made = self._passes.pop(number, (None, None))
        if made is not None:
            made.result()
        if order is None:
            order = self.begin()
            self.fill(order, number)
        self._passes[number] = order, None
        return order

    def _numbers(self, epoch: int) -> range:
        first, last = epoch * self._of_epoch, (epoch + 1) * self._of_epoch
        return range(first // self._of_pass, -(-last // self._of_pass))


def make_ahead(orders: Iterable[tuple[Order, int]]) -> None:
    """Start to make the orders of trials for an epoch each in other threads."""
    missing = [(order, number) for order, epoch in orders for number in order.missing(epoch)]
    for k in range(0, len(missing), MADE_TOGETHER):
        memory = [
            (order, order.begin(), number) for order, number in missing[k : k + MADE_TOGETHER]
        ]
        made = _threads().submit(_fill, memory)
        for order, empty, number in memory:
            order.expect(empty, number, made)


def _fill(memory: Iterable[tuple[Order, torch.Tensor, int]]) -> None:
    for order, empty, number in memory:
        order.fill(empty, number)


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


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="order")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.cache_clear)
