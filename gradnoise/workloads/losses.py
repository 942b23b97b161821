"""The cross-entropy of a workload's loss, which techniques may replace."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import torch
from torch.nn import functional

LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From logits and targets to the loss of each example."""

_replacement: ContextVar[LossFunction | None] = ContextVar("replacement", default=None)


def cross_entropy(
    logits: torch.Tensor,
    targets: torch.Tensor,
    reduction: Literal["mean", "sum", "none"] = "mean",
) -> torch.Tensor:
    """Return the cross-entropy, or in training the loss by which the arm's techniques replace it.

    A workload whose `loss` calls it supports techniques on the loss, such as `label_smoothing`.

    Args:
        logits: [examples, classes] or [examples, classes, ...].
        targets: The right classes, [examples] or [examples, ...], integers.
        reduction: The mean over the examples, their sum, or each example's loss.

    >>> logits, targets = torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1])
    >>> cross_entropy(logits, targets)
    tensor(0.6931)
    """
    function = _replacement.get()
    if function is None:
        return functional.cross_entropy(logits, targets, reduction=reduction)
    losses = function(logits, targets)
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()


@contextmanager
def replaced_by(function: LossFunction | None) -> Iterator[None]:
    """Make `cross_entropy` return another loss within the context; None: the cross-entropy."""
    token = _replacement.set(function)
    try:
        yield
    finally:
        _replacement.reset(token)


def check_is_used(compute: Callable[[], object]) -> None:
    """Check that a workload's loss calls `cross_entropy`.

    Args:
        compute: Computes the loss once.

    Raises:
        ValueError: If it does not.
    """
    calls: list[None] = []

    def recorded(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        calls.append(None)
        return functional.cross_entropy(logits, targets, reduction="none")

    with replaced_by(recorded), torch.no_grad():
        compute()
    if not calls:
        raise ValueError(
            "a technique on the loss would have no effect: the workload's loss does not call "
            "gradnoise.workloads.cross_entropy. Call it there, or leave 'loss' out of the "
            "workload's places."
        )
