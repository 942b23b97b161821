"""What the kernel for dense networks does, as it reads it from memory.

A job is the gradients of networks on a batch each, or if `outputs` is not 0 their outputs for the
same examples.
"""

import numpy as np

FLOAT = 4
"""Bytes of a number."""
LINE = 16
"""Numbers of a cache line, and at most of a vector; a layer has at least as many inputs."""
TILE_ROWS = 10
"""Rows at most of a tile; there are at least as many examples, and outputs of a layer."""

EPSILON = 1e-5
"""Of the layer norm: x = (z - mean z) / sqrt(var z + EPSILON), as in torch.nn.LayerNorm."""

PARAMETERS = ("weight", "bias", "gain", "shift")
TENSORS = (*PARAMETERS, *(f"{name}_gradient" for name in PARAMETERS), "mask")
LAYER = np.dtype(
    [
        (name, np.int64)
        for name in (*TENSORS, *(f"{name}_stride" for name in TENSORS), "n_inputs", "n_outputs")
    ]
)
"""The addresses of a layer's tensors of the first network, the bytes to those of the next, and the
layer's units. The mask is 0 if there is none; gain and shift are 0 without a layer norm.
"""

ARRAYS = ("layers", "inputs", "labels", "losses", "outputs", "scratch", "zeros")
"""`inputs` and `labels` are [networks, examples, ...]; `zeros` is a row as long as any."""
NUMBERS = ("n_layers", "n_networks", "n_examples", "n_at_once", "n_kept", "inputs_stride")
SIZES = ("layer_size", "scratch_size")
"""Bytes: of a layer's activations, of the scratch memory of a thread."""
FIELDS = (*ARRAYS, *NUMBERS, *SIZES, "next_network", "next_scratch")
JOB = np.dtype([(name, np.int64) for name in FIELDS])
NEXT_NETWORK: int = JOB.fields["next_network"][1]  # type: ignore[index]  # fields is set
NEXT_SCRATCH: int = JOB.fields["next_scratch"][1]  # type: ignore[index]
