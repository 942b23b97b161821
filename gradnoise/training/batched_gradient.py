"""Gradients of many models at once, from a loss that is written for a single model."""

import warnings
from collections.abc import Callable

import torch
from torch.func import grad_and_value, vmap

from gradnoise.training.decomposed import decomposing
from gradnoise.training.memory import is_out_of_memory
from gradnoise.workloads.base import Batch, Tensors

Loss = Callable[[Tensors, Tensors, Batch, Tensors], torch.Tensor]


class BatchedGradient:
    """Computes the gradients and the losses of many models; all tensors are [models, ...].

    The models' losses are computed under `torch.func.vmap`. Outside of it, autograd differentiates
    their sum: the part of a model is the gradient of its loss, because no other loss depends on its
    weights. Then only the forward pass has the cost of vmap, which is high where operations are
    small. Where vmap has no rule for an operation, the gradient is taken within vmap from the first
    call on: `torch.func.grad` decomposes some operations, such as torch.nn.GRU on a CPU.

    Args:
        loss: From the weights, buffers, examples and hyperparameters of a model to its loss. It may
            change buffers in place.
    """

    def __init__(self, loss: Loss) -> None:
        self._losses = decomposing(vmap(loss))
        self._gradients_and_losses = decomposing(vmap(grad_and_value(loss)))
        self._is_within: bool | None = None

    def __call__(
        self,
        weights: Tensors,
        buffers: Tensors,
        batch: Batch,
        hyper: Tensors,
        gradients: Tensors,
    ) -> torch.Tensor:
        """Write the gradients into `gradients` and return the losses, [models]."""
        if self._is_within is None:
            before = {name: buffer.clone() for name, buffer in buffers.items()}
            try:
                with warnings.catch_warnings():
                    # of an operation for which vmap would loop over the models
                    warnings.filterwarnings("error", message=".*batching rule.*")
                    losses = self._outside(weights, buffers, batch, hyper, gradients)
                self._is_within = False
                return losses
            except (RuntimeError, UserWarning) as error:
                if is_out_of_memory(error):
                    raise
            self._is_within = True
            for name, buffer in buffers.items():
                buffer.copy_(before[name])
        if not self._is_within:
            return self._outside(weights, buffers, batch, hyper, gradients)
        found, losses = self._gradients_and_losses(weights, buffers, batch, hyper)
        for name, into in gradients.items():
            into.copy_(found[name])
        return torch.as_tensor(losses)

    def _outside(
        self,
        weights: Tensors,
        buffers: Tensors,
        batch: Batch,
        hyper: Tensors,
        gradients: Tensors,
    ) -> torch.Tensor:
        with torch.enable_grad():
            leaves = {name: part.detach().requires_grad_() for name, part in weights.items()}
            # so that a buffer does not keep the operations that changed it
            aliases = {name: buffer.detach() for name, buffer in buffers.items()}
            losses = torch.as_tensor(self._losses(leaves, aliases, batch, hyper))
            found = torch.autograd.grad(
                losses, list(leaves.values()), grad_outputs=torch.ones_like(losses)
            )
        for name, gradient in zip(leaves, found, strict=True):
            gradients[name].copy_(gradient)
        return losses.detach()
