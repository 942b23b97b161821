"""Fully connected ReLU layers under cross-entropy, many models at once, with their outputs and
their gradient written out.

`torch.func.vmap` spends most of its time between the products of such narrow layers; here each
layer is three batched products, into memory that is used again at every update.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from gradnoise.workloads.base import Batch, Tensors

ROWS_AT_ONCE = 1_000
"""So many examples' activations stay in a core's caches."""


@dataclass(frozen=True, kw_only=True)
class DenseLayer:
    """Names of a layer's parameters, and of the buffer that multiplies its activations under
    dropout; empty if there is none.
    """

    weight: str
    bias: str
    mask: str = ""


class DenseNetworks:
    """ReLU layers, z_l = W_l h_{l-1} + b_l, h_l = m_l max(z_l, 0), the last without ReLU.

    Args:
        layers: From the first to the last.
    """

    def __init__(self, layers: Sequence[DenseLayer]) -> None:
        self._layers = layers
        self._room: dict[tuple[object, ...], torch.Tensor] = {}

    def outputs(self, weights: Tensors, inputs: torch.Tensor) -> torch.Tensor:
        """Return what each model makes of the same inputs, [models, examples, classes], without
        masks.
        """
        n = len(weights[self._layers[0].weight])
        pieces = []
        for piece in torch.split(inputs, len(inputs) if inputs.is_cuda else ROWS_AT_ONCE):
            hidden = piece.expand(n, *piece.shape)
            for i, layer in enumerate(self._layers):
                hidden = self._forward(("outputs", i % 2), layer, weights, hidden)
                if i < len(self._layers) - 1:
                    hidden.relu_()
            pieces.append(hidden.clone())
        return torch.cat(pieces, 1)

    def gradient(
        self, weights: Tensors, masks: Tensors, batch: Batch, gradients: Tensors
    ) -> torch.Tensor:
        """Write the gradient of each model's mean cross-entropy on its own batch, and return the
        losses, [models].

        dL/dz_last = (softmax(z_last) - onehot(y)) / n; dL/dW_l = dL/dz_l^T h_{l-1}; dL/db_l = sum
        dL/dz_l; dL/dz_{l-1} = (dL/dz_l W_l) m_{l-1} [h_{l-1} > 0].
        """
        inputs, labels = batch
        hidden = [inputs]
        for i, layer in enumerate(self._layers):
            outputs = self._forward(("forward", i), layer, weights, hidden[-1])
            if i < len(self._layers) - 1:
                outputs.relu_()
                if layer.mask in masks:
                    outputs.mul_(masks[layer.mask])
            hidden.append(outputs)
        # [models, classes, examples]: along a few classes torch is slow
        outputs = hidden.pop().transpose(1, 2).contiguous()
        logarithms, chosen = functional.log_softmax(outputs, dim=1), labels.unsqueeze(1)
        losses = -logarithms.gather(1, chosen).mean((1, 2))
        logarithms.exp_().scatter_add_(
            1, chosen, logarithms.new_full((), -1.0).expand(chosen.shape)
        ).div_(labels.shape[1])
        back = logarithms.transpose(1, 2).contiguous()
        for i in reversed(range(len(self._layers))):
            layer, before = self._layers[i], hidden[i]
            own = weights[layer.weight]
            product = self._empty("weight", i, own.shape, inputs)
            gradients[layer.weight].copy_(torch.bmm(back.transpose(1, 2), before, out=product))
            torch.sum(back, 1, out=gradients[layer.bias])
            if i:
                back = torch.bmm(back, own, out=self._empty("back", i, before.shape, inputs))
                mask = masks.get(self._layers[i - 1].mask)
                if mask is not None:
                    back.mul_(mask)
                back = torch.ops.aten.threshold_backward.grad_input(
                    back, before, 0, grad_input=back
                )
        return losses

    def _forward(
        self, place: tuple[str, int], layer: DenseLayer, weights: Tensors, hidden: torch.Tensor
    ) -> torch.Tensor:
        own, bias = weights[layer.weight], weights[layer.bias]
        outputs = self._empty(*place, (*hidden.shape[:2], own.shape[1]), hidden)
        return torch.baddbmm(bias.unsqueeze(1), hidden, own.transpose(1, 2), out=outputs)

    def _empty(
        self, what: str, layer: int, shape: Sequence[int], like: torch.Tensor
    ) -> torch.Tensor:
        """Return memory for an intermediate result, the same at every update."""
        key = (what, layer, *shape, like.dtype, like.device)
        if key not in self._room:
            self._room[key] = torch.empty(*shape, dtype=like.dtype, device=like.device)
        return self._room[key]
