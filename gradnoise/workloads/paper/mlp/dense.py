"""Outputs and gradients of many fully connected ReLU networks at once, under cross-entropy.

`torch.func.vmap` spends most of its time between the matrix products of such narrow layers. Here
each layer is three batched products, whose results reuse the same memory at every update.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional

from gradnoise._kernels.network_job import EPSILON
from gradnoise.workloads.base import Batch, Tensors
from gradnoise.workloads.paper.mlp.compiled import CompiledNetworks, DenseLayer

ROWS_AT_ONCE = 1_000
"""The activations of this many examples fit into the caches of a core."""

IN_PLACE_FROM = 10_000
"""Numbers of a weight matrix from which its gradients are written in place on a CPU.

The batched product of smaller matrices is faster into contiguous memory, with a copy after it.
"""


class DenseNetworks:
    """ReLU layers z_l = W_l h_{l-1} + b_l, h_l = m_l max(z_l, 0); the last layer has no ReLU.

    A layer norm makes it h_l = m_l max(g_l x_l + s_l, 0) with x_l = r_l (z_l - mean z_l), where
    r_l = 1 / sqrt(var z_l + EPSILON); mean and variance are those of the units for an example.

    Args:
        layers: From the first to the last.
    """

    def __init__(self, layers: Sequence[DenseLayer]) -> None:
        self._layers = layers
        self._compiled = CompiledNetworks(layers)
        self._buffers: dict[tuple[object, ...], torch.Tensor] = {}

    def outputs(self, weights: Tensors, inputs: torch.Tensor) -> torch.Tensor:
        """Return each model's outputs for the same inputs, without masks.

        Returns:
            [models, examples, classes].
        """
        if self._compiled.takes(weights, inputs):
            return self._compiled.outputs(weights, inputs)
        n = len(weights[self._layers[0].weight])
        pieces = []
        for piece in torch.split(inputs, len(inputs) if inputs.is_cuda else ROWS_AT_ONCE):
            hidden = piece.expand(n, *piece.shape)
            for i, layer in enumerate(self._layers):
                hidden, _ = self._forward(("outputs", i % 2), layer, weights, hidden)
                if i < len(self._layers) - 1:
                    hidden.relu_()
            pieces.append(hidden.clone())
        return torch.cat(pieces, 1)

    def gradient(
        self, weights: Tensors, masks: Tensors, batch: Batch, gradients: Tensors
    ) -> torch.Tensor:
        """Write the gradient of each model's mean cross-entropy on its batch into `gradients`.

        dL/dz_last = (softmax(z_last) - onehot(y)) / n; dL/dW_l = dL/dz_l^T h_{l-1}; dL/db_l = sum
        dL/dz_l; dL/dz_{l-1} = (dL/dz_l W_l) m_{l-1} [h_{l-1} > 0]. With a layer norm the latter is
        d = dL/d(g x + s), and dL/dg = sum d x; dL/ds = sum d; dL/dz = r (e - mean e - x mean(e x))
        with e = g d.

        Returns:
            The losses, [models].
        """
        inputs, labels = batch
        if self._compiled.takes(weights, inputs):
            return self._compiled.gradient(weights, masks, batch, gradients)
        hidden, norms = [inputs], []
        for i, layer in enumerate(self._layers):
            outputs, norm = self._forward(("forward", i), layer, weights, hidden[-1])
            norms.append(norm)
            if i < len(self._layers) - 1:
                outputs.relu_()
                if layer.mask in masks:
                    outputs.mul_(masks[layer.mask])
            hidden.append(outputs)
        # [models, classes, examples], because torch is slow along a short last axis
        outputs = hidden.pop().transpose(1, 2).contiguous()
        logarithms, chosen = functional.log_softmax(outputs, dim=1), labels.unsqueeze(1)
        losses = -logarithms.gather(1, chosen).mean((1, 2))
        logarithms.exp_().scatter_add_(
            1, chosen, logarithms.new_full((), -1.0).expand(chosen.shape)
        ).div_(labels.shape[1])
        back = logarithms.transpose(1, 2).contiguous()
        for i in reversed(range(len(self._layers))):
            layer, before, norm = self._layers[i], hidden[i], norms[i]
            if norm:
                x, scale = norm
                torch.sum(back, 1, out=gradients[layer.shift])
                torch.sum(back * x, 1, out=gradients[layer.gain])
                back *= weights[layer.gain].unsqueeze(1)
                along = (back * x).mean(2, keepdim=True)
                back = scale * (back - back.mean(2, keepdim=True) - x * along)
            self._write_product(i, back.transpose(1, 2), before, gradients[layer.weight])
            torch.sum(back, 1, out=gradients[layer.bias])
            if i:
                back = torch.bmm(
                    back, weights[layer.weight], out=self._empty("back", i, before.shape, inputs)
                )
                mask = masks.get(self._layers[i - 1].mask)
                if mask is not None:
                    back.mul_(mask)
                back = torch.ops.aten.threshold_backward.grad_input(
                    back, before, 0, grad_input=back
                )
        return losses

    def _forward(
        self, key: tuple[str, int], layer: DenseLayer, weights: Tensors, hidden: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor] | None]:
        """Return the layer's outputs before the ReLU, and x and r of its layer norm."""
        weight, bias = weights[layer.weight], weights[layer.bias]
        outputs = self._empty(*key, (*hidden.shape[:2], weight.shape[1]), hidden)
        torch.baddbmm(bias.unsqueeze(1), hidden, weight.transpose(1, 2), out=outputs)
        if not layer.gain:
            return outputs, None
        x, _, scale = torch.native_layer_norm(outputs, outputs.shape[-1:], None, None, EPSILON)
        gain, shift = (weights[name].unsqueeze(1) for name in (layer.gain, layer.shift))
        return torch.addcmul(shift, gain, x, out=outputs), (x, scale)

    def _write_product(
        self, layer: int, left: torch.Tensor, right: torch.Tensor, into: torch.Tensor
    ) -> None:
        if into.is_cpu and into[0].numel() < IN_PLACE_FROM:
            into.copy_(torch.bmm(left, right, out=self._empty("weight", layer, into.shape, into)))
        else:
            torch.bmm(left, right, out=into)

    def _empty(
        self, what: str, layer: int, shape: Sequence[int], like: torch.Tensor
    ) -> torch.Tensor:
        """Return uninitialised memory for an intermediate result, the same at every update."""
        key = (what, layer, *shape, like.dtype, like.device)
        if key not in self._buffers:
            self._buffers[key] = torch.empty(*shape, dtype=like.dtype, device=like.device)
        return self._buffers[key]
