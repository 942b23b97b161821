"""The functions of an arm's techniques on a separate model."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch

from gradnoise.techniques.contribution import Contribution
from gradnoise.techniques.functions import Tensors
from gradnoise.training import arm_functions
from gradnoise.training.arm_functions import averaged_part, copy_into
from gradnoise.workloads.losses import replaced_by


class SingleFunctions:
    """Applies the functions of an arm to a model and its gradient.

    Args:
        contribution: What the arm's techniques contribute.
        weights: The model's parameters by name.
        buffers: Its buffers by name.

    Attributes:
        kept: The state of each transformation, then the average.
    """

    def __init__(self, contribution: Contribution, weights: Tensors, buffers: Tensors) -> None:
        self._contribution = contribution
        self._weights = weights
        self._buffers = buffers
        self._device = next(iter(self._weights.values())).device
        self._hyper = arm_functions.hyper_of(contribution, self._device)
        self.kept = arm_functions.first_kept(contribution, self._weights, self._buffers)

    def load(self, kept: Sequence[Tensors]) -> None:
        """Restore `kept` from a checkpoint."""
        for mine, saved in zip(self.kept, kept, strict=True):
            copy_into(mine, saved)

    def loss(self) -> AbstractContextManager[None]:
        """Return a context within which the arm's loss replaces the cross-entropy."""
        return replaced_by(arm_functions.loss_of(self._contribution, self._hyper["loss"]))

    @property
    def perturbs(self) -> bool:
        """Whether a second gradient is taken."""
        return self._contribution.perturbation is not None

    @contextmanager
    def perturbed(self, t: int) -> Iterator[None]:
        """Move the weights within the context; at its end restore weights and buffers."""
        before = [*self._weights.values(), *self._buffers.values()]
        with torch.no_grad():
            saved = [tensor.clone() for tensor in before]
            moved = arm_functions.displacement(
                self._contribution, self._hyper, self._gradient(), self._weights, self._t(t)
            )
            for name, change in moved.items():
                self._weights[name].add_(change)
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, value in zip(before, saved, strict=True):
                    tensor.copy_(value)

    @torch.no_grad()
    def transform(self, t: int) -> None:
        """Transform the gradient of update t."""
        if not self._contribution.transforms:
            return
        gradient = self._gradient()
        new, states = arm_functions.transformed(
            self._contribution, self._hyper, self.kept, gradient, self._weights, self._t(t)
        )
        copy_into(gradient, new)
        for mine, state in zip(self.kept[:-1], states, strict=True):
            copy_into(mine, state)

    @torch.no_grad()
    def average(self, t: int) -> None:
        """Take the weights after update t into the average."""
        if self._contribution.average is None:
            return
        weights = averaged_part(self._weights, self._buffers)
        copy_into(
            self.kept[-1],
            arm_functions.averaged(
                self._contribution, self._hyper, self.kept[-1], weights, self._t(t)
            ),
        )

    @contextmanager
    def evaluated(self) -> Iterator[None]:
        """Put the average, if there is one, in place of the weights within the context."""
        present = averaged_part(self._weights, self._buffers)
        here = {name: present[name] for name in self.kept[-1]}
        saved = {name: tensor.detach().clone() for name, tensor in here.items()}
        with torch.no_grad():
            copy_into(here, self.kept[-1])
        try:
            yield
        finally:
            with torch.no_grad():
                copy_into(here, saved)

    def _gradient(self) -> dict[str, torch.Tensor]:
        return {
            name: weights.grad
            for name, weights in self._weights.items()
            if weights.grad is not None
        }

    def _t(self, t: int) -> torch.Tensor:
        return torch.tensor(float(t), dtype=torch.float64, device=self._device)
