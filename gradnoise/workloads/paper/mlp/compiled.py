"""Outputs and gradients of dense networks by the compiled kernel."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gradnoise._kernels import backends, threads
from gradnoise._kernels.network_job import FIELDS, FLOAT, JOB, LAYER, LINE, PARAMETERS, TILE_ROWS
from gradnoise.workloads.base import Batch, Tensors

EXAMPLES_AT_ONCE = 128
"""Examples whose activations stay in the cache while outputs are computed."""
MOST_OUTPUTS = 128
"""Outputs of a layer from which torch's products are as fast."""


@dataclass(frozen=True, kw_only=True)
class DenseLayer:
    """The names of a layer's parameters and of its dropout mask.

    Args:
        weight: Name of the weight matrix.
        bias: Name of the bias.
        gain: Name of the layer norm's factors; empty: no layer norm, as in the last layer.
        shift: Name of the layer norm's summands.
        mask: Name of the buffer that multiplies the activations under dropout; empty: none.
    """

    weight: str
    bias: str
    gain: str = ""
    shift: str = ""
    mask: str = ""


class CompiledNetworks:
    """The methods of DenseNetworks for the networks that the kernel takes.

    Args:
        layers: From the first to the last.
    """

    def __init__(self, layers: Sequence[DenseLayer]) -> None:
        self._layers = layers
        self._scratch = self._zeros = torch.empty(0)
        self._is_fit: bool | None = None
        self._trained: tuple[Tensors, Tensors, np.ndarray] | None = None

    def takes(self, weights: Tensors, inputs: torch.Tensor) -> bool:
        """Return whether the kernel computes networks of these weights, and faster than torch.

        It depends on types and shapes alone, but not on the number of networks.

        Args:
            weights: [networks, *shape] by name; of the same shapes at every call.
            inputs: [..., examples, inputs].
        """
        if not (inputs.is_cpu and inputs.dtype is torch.float32 and inputs.shape[-2] >= TILE_ROWS):
            return False
        if self._is_fit is None:
            shapes = [weights[layer.weight].shape[1:] for layer in self._layers]
            self._is_fit = (
                all(n_inputs >= LINE for _, n_inputs in shapes)
                and all(TILE_ROWS <= n_outputs <= MOST_OUTPUTS for n_outputs, _ in shapes)
                and backends.networks() is not None
            )
        return self._is_fit

    def outputs(self, weights: Tensors, inputs: torch.Tensor) -> torch.Tensor:
        """Return each network's outputs for the same inputs, [networks, examples, classes]."""
        n_networks, n_classes = weights[self._layers[-1].bias].shape
        outputs = torch.empty(n_networks, len(inputs), n_classes)
        layers = self._table(weights, {})
        self._run(layers, inputs.expand(n_networks, *inputs.shape), 2, outputs=outputs)
        return outputs

    def gradient(
        self, weights: Tensors, masks: Tensors, batch: Batch, gradients: Tensors
    ) -> torch.Tensor:
        """Write the gradients of each network into `gradients` and return the losses.

        The same mappings must hold the same tensors at every call.
        """
        inputs, labels = batch
        losses = torch.empty(len(inputs))
        # the same tensors at every update
        if not (self._trained and self._trained[0] is weights and self._trained[1] is gradients):
            self._trained = weights, gradients, self._table(weights, gradients)
        layers = self._trained[2]
        for row, layer in enumerate(self._layers):
            mask = masks.get(layer.mask)
            layers["mask"][row] = 0 if mask is None else mask.data_ptr()
            layers["mask_stride"][row] = 0 if mask is None else FLOAT * mask.stride(0)
        self._run(layers, inputs, len(layers), labels=labels.contiguous(), losses=losses)
        return losses

    def _table(self, weights: Tensors, gradients: Tensors) -> np.ndarray:
        """Return the layers as the kernel reads them, without masks."""
        table = np.zeros(len(self._layers), LAYER)
        for row, layer in zip(table, self._layers, strict=True):
            row["n_outputs"], row["n_inputs"] = weights[layer.weight].shape[1:]
            for kind in PARAMETERS:
                name = getattr(layer, kind)
                for field, tensors in ((kind, weights), (f"{kind}_gradient", gradients)):
                    if name in tensors:
                        row[field] = tensors[name].data_ptr()
                        row[f"{field}_stride"] = FLOAT * tensors[name].stride(0)
        return table

    def _run(
        self, layers: np.ndarray, inputs: torch.Tensor, n_kept: int, **arrays: torch.Tensor
    ) -> None:
        n_networks, n_examples, _ = inputs.shape
        n_at_once = min(n_examples, EXAMPLES_AT_ONCE) if "outputs" in arrays else n_examples
        n_threads = min(torch.get_num_threads(), n_networks)
        widest, most_inputs = _lines(layers["n_outputs"].max()), _lines(layers["n_inputs"].max())
        size = widest * n_at_once
        if any(layers["gain"]):  # the normalised sums, and a scale per row
            size = 2 * size + _lines(n_at_once)
        n_numbers = (n_kept + 2) * size + (most_inputs + 1) * widest
        if len(self._scratch) < n_threads * n_numbers:
            self._scratch = torch.empty(n_threads * n_numbers)
            self._zeros = torch.zeros(most_inputs)
        numbers = {
            "layers": layers.ctypes.data,
            "inputs": inputs.data_ptr(),
            "inputs_stride": FLOAT * inputs.stride(0),
            "scratch": self._scratch.data_ptr(),
            "zeros": self._zeros.data_ptr(),
            "n_layers": len(layers),
            "n_networks": n_networks,
            "n_examples": n_examples,
            "n_at_once": n_at_once,
            "n_kept": n_kept,
            "layer_size": FLOAT * size,
            "scratch_size": FLOAT * n_numbers,
            **{name: array.data_ptr() for name, array in arrays.items()},
        }
        job = np.array([tuple(numbers.get(name, 0) for name in FIELDS)], JOB)
        kernels = backends.networks()
        assert kernels is not None
        threads.run(kernels.KERNEL, job.ctypes.data, n_threads)


def _lines(n: int) -> int:
    return -(-int(n) // LINE) * LINE
