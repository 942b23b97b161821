"""Outputs and gradients of dense ReLU networks for the CPU's vector units, for numba to compile.

A network is computed from the first to the last layer and back by one thread, so that its
activations stay in the cache. Weights are transposed into scratch memory before they are used in
the forward pass, with the bias as the last row. Rows of activations are whole vectors; the numbers
beyond the outputs of a layer are not used.

The activations of a layer with a layer norm are followed by its normalised sums, in rows as long,
and by the reciprocal of the standard deviation of each row.
"""

import math
from typing import Any

import numpy as np
from numba import carray, types

from gradnoise._kernels.intrinsics import kernel, pointer, take_next, widest
from gradnoise._kernels.network_job import (
    EPSILON,
    FLOAT,
    JOB,
    LAYER,
    NEXT_NETWORK,
    NEXT_SCRATCH,
)
from gradnoise._kernels.object_file import object_file as _object_file
from gradnoise._kernels.tiles import (
    GATED,
    NARROW_ROWS,
    PLAIN,
    RELU,
    ROWS,
    VECTOR,
    VECTORS,
    tile_of,
    transpose,
)

WIDE = VECTORS * VECTOR
_inlined = kernel(inline="always")  # LLVM takes less time for one function than for a chain of them
_large, _narrow = tile_of(ROWS, VECTORS), tile_of(NARROW_ROWS, 1)


@kernel(types.void(*[types.int64] * 14))
def _multiply(
    a: int,
    row_a: int,
    column_a: int,
    b: int,
    row_b: int,
    n: int,
    start: int,
    gate: int,
    row_gate: int,
    end: int,
    c: int,
    row_c: int,
    n_rows: int,
    n_columns: int,
) -> None:
    """Set C = end(start + A B), of n_rows and n_columns.

    The arguments up to `row_c` are those of a tile. There are at least NARROW_ROWS rows and VECTOR
    columns: where the last tile is not full, some numbers are computed twice.
    """
    column = 0
    while column < n_columns:
        is_wide = column + WIDE <= n_columns
        n_tile_rows = ROWS if is_wide else NARROW_ROWS
        at = FLOAT * (column if is_wide else min(column, n_columns - VECTOR))
        for first in range(0, n_rows, n_tile_rows):
            row = FLOAT * min(first, n_rows - n_tile_rows)
            tile = (
                *(a + row * row_a, row_a, column_a),
                *(b + at, row_b),
                *(n, start + at),
                *(gate + row * row_gate + at, row_gate, end),
                *(c + row * row_c + at, row_c),
            )
            if is_wide:
                _large(*tile)
            else:
                _narrow(*tile)
        column += WIDE if is_wide else VECTOR


@kernel()
def _padded(n: int) -> int:
    return (n + VECTOR - 1) // VECTOR * VECTOR


@kernel()
def _pack(weight: int, bias: int, n_outputs: int, n_inputs: int, packed: int) -> None:
    """Write the transposed weights, then the bias, in rows that repeat the last output."""
    width = _padded(n_outputs)
    for o in range(0, n_outputs, VECTOR):
        for start in range(0, n_inputs, VECTOR):
            i = min(start, n_inputs - VECTOR)
            transpose(
                *(weight + FLOAT * (o * n_inputs + i), n_inputs, n_outputs - o),
                *(packed + FLOAT * (i * width + o), width),
            )
    biases = carray(pointer(bias, np.float32), n_outputs)
    row = carray(pointer(packed + FLOAT * n_inputs * width, np.float32), width)
    for o in range(width):
        row[o] = biases[min(o, n_outputs - 1)]


@_inlined
def _forward(
    layers: Any,
    k: int,
    inputs: int,
    n: int,
    hidden: int,
    size: int,
    n_kept: int,
    packed: int,
) -> int:
    """Compute the activations of network k, and return the address of its outputs.

    Those of layer l are at hidden + (l mod n_kept) size. All layers but the last have a ReLU.
    """
    before, row = inputs, layers[0].n_inputs
    for i in range(len(layers)):
        layer = layers[i]
        _pack(
            layer.weight + k * layer.weight_stride,
            layer.bias + k * layer.bias_stride,
            layer.n_outputs,
            layer.n_inputs,
            packed,
        )
        width = _padded(layer.n_outputs)
        bias = packed + FLOAT * layer.n_inputs * width
        end = RELU if i < len(layers) - 1 and not layer.gain else PLAIN
        after = hidden + i % n_kept * size
        _multiply(
            *(before, row, 1),
            *(packed, width),
            *(layer.n_inputs, bias),
            *(after, width, end),
            *(after, width),
            *(n, width),
        )
        if layer.gain:
            _normalise(
                carray(pointer(after, np.float32), (n, width)),
                carray(pointer(after + FLOAT * n * width, np.float32), (n, width)),
                carray(pointer(after + 2 * FLOAT * n * width, np.float32), n),
                carray(pointer(layer.gain + k * layer.gain_stride, np.float32), layer.n_outputs),
                carray(pointer(layer.shift + k * layer.shift_stride, np.float32), layer.n_outputs),
            )
        if layer.mask:
            _mask(after, width, layer.mask + k * layer.mask_stride, n, layer.n_outputs)
        before, row = after, width
    return before


@kernel(fastmath={"contract", "reassoc"})
def _normalise(sums: Any, normalised: Any, scales: Any, gain: Any, shift: Any) -> None:
    """Replace the sums z by max(0, gain x + shift), x = scale (z - mean z), and set x and scale."""
    widest()
    n = len(gain)
    for r in range(len(scales)):
        z, x = sums[r, :n], normalised[r, :n]
        total = np.float32(0)
        for c in range(n):
            total += z[c]
        mean = total / np.float32(n)
        squares = np.float32(0)
        for c in range(n):
            x[c] = z[c] - mean
            squares += x[c] * x[c]
        scale = np.float32(1) / np.sqrt(squares / np.float32(n) + np.float32(EPSILON))
        scales[r] = scale
        for c in range(n):
            x[c] *= scale
        for c in range(n):
            y = gain[c] * x[c] + shift[c]
            z[c] = np.float32(0) if y <= 0 else y


@kernel(fastmath={"contract", "reassoc"})
def _denormalise(back: Any, normalised: Any, scales: Any, gain: Any, products: Any) -> None:
    """Replace d = dL/d(gain x + shift) by dL/dz, and set the products d x.

    dL/dz = scale (g - mean g - x mean(g x)) with g = gain d.
    """
    widest()
    n = len(gain)
    for r in range(len(scales)):
        d, x, product = back[r, :n], normalised[r, :n], products[r, :n]
        for c in range(n):
            product[c] = d[c] * x[c]
        total, along = np.float32(0), np.float32(0)
        for c in range(n):
            d[c] *= gain[c]
            total += d[c]
        for c in range(n):
            along += gain[c] * product[c]
        total /= np.float32(n)
        along /= np.float32(n)
        for c in range(n):
            d[c] = scales[r] * (d[c] - total - along * x[c])


@kernel()
def _mask(values: int, row: int, mask: int, n_rows: int, n_columns: int) -> None:
    numbers = carray(pointer(values, np.float32), (n_rows, row))
    factors = carray(pointer(mask, np.float32), (n_rows, n_columns))
    for r in range(n_rows):
        for c in range(n_columns):
            numbers[r, c] *= factors[r, c]


@kernel()
def _cross_entropy(outputs: Any, labels: Any, n_classes: int) -> float:
    """Replace outputs z by (softmax(z) - onehot(y)) / n, and return the mean cross-entropy."""
    n, total = len(labels), 0.0
    for r in range(n):
        row = outputs[r, :n_classes]
        highest = row[0]
        for c in range(1, n_classes):
            highest = max(highest, row[c])
        chosen = row[labels[r]] - highest
        added = np.float32(0)
        for c in range(n_classes):
            row[c] = math.exp(row[c] - highest)
            added += row[c]
        total += math.log(added) - chosen
        for c in range(n_classes):
            row[c] /= added
        row[labels[r]] -= np.float32(1)
        for c in range(n_classes):
            row[c] /= np.float32(n)
    return total / n


@kernel()
def _add_rows(matrix: Any, total: Any) -> None:
    """Set the total to the sum of the rows."""
    n = len(matrix)
    total[:] = 0
    for r in range(0, n - n % 4, 4):
        for c in range(len(total)):
            total[c] += (matrix[r, c] + matrix[r + 1, c]) + (matrix[r + 2, c] + matrix[r + 3, c])
    for r in range(n - n % 4, n):
        for c in range(len(total)):
            total[c] += matrix[r, c]


@_inlined
def _backward(
    layers: Any, k: int, inputs: int, n: int, hidden: int, size: int, back: int, zeros: int
) -> None:
    """Write the gradients of network k, from dL/dz of the last layer in place of its outputs."""
    last = len(layers) - 1
    now = hidden + last * size
    for i in range(last, -1, -1):
        layer = layers[i]
        width, row = _padded(layer.n_outputs), _padded(layer.n_inputs) if i else layer.n_inputs
        before = hidden + (i - 1) * size if i else inputs
        following = back + i % 2 * size
        if layer.gain:
            _norm_backward(layer, k, n, now, hidden + i * size, following)
        _multiply(
            *(now, 1, width),
            *(before, row),
            *(n, zeros),
            *(zeros, 0, PLAIN),
            *(layer.weight_gradient + k * layer.weight_gradient_stride, layer.n_inputs),
            *(layer.n_outputs, layer.n_inputs),
        )
        bias = layer.bias_gradient + k * layer.bias_gradient_stride
        _add_rows(
            carray(pointer(now, np.float32), (n, width)),
            carray(pointer(bias, np.float32), layer.n_outputs),
        )
        if i:
            _multiply(
                *(now, width, 1),
                *(layer.weight + k * layer.weight_stride, layer.n_inputs),
                *(layer.n_outputs, zeros),
                *(before, row, GATED),
                *(following, row),
                *(n, layer.n_inputs),
            )
            mask = layers[i - 1].mask
            if mask:
                mask += k * layers[i - 1].mask_stride
                _mask(following, row, mask, n, layer.n_inputs)
            now = following


@_inlined
def _norm_backward(layer: Any, k: int, n: int, now: int, kept: int, free: int) -> None:
    """Write the gradients of gain and shift, and make the gradient `now` that of the sums z."""
    n_outputs, width = layer.n_outputs, _padded(layer.n_outputs)
    back = carray(pointer(now, np.float32), (n, width))
    products = carray(pointer(free, np.float32), (n, width))
    shift = layer.shift_gradient + k * layer.shift_gradient_stride
    gain = layer.gain_gradient + k * layer.gain_gradient_stride
    _add_rows(back, carray(pointer(shift, np.float32), n_outputs))
    _denormalise(
        back,
        carray(pointer(kept + FLOAT * n * width, np.float32), (n, width)),
        carray(pointer(kept + 2 * FLOAT * n * width, np.float32), n),
        carray(pointer(layer.gain + k * layer.gain_stride, np.float32), n_outputs),
        products,
    )
    _add_rows(products, carray(pointer(gain, np.float32), n_outputs))


@_inlined
def _gradient(layers: Any, k: int, job: Any, scratch: int) -> None:
    n, n_classes = job.n_examples, layers[len(layers) - 1].n_outputs
    inputs, size = job.inputs + k * job.inputs_stride, job.layer_size
    back = scratch + job.n_kept * size
    outputs = _forward(layers, k, inputs, n, scratch, size, job.n_kept, back + 2 * size)
    losses = carray(pointer(job.losses, np.float32), job.n_networks)
    labels = carray(pointer(job.labels, np.int64), (job.n_networks, n))
    losses[k] = _cross_entropy(
        carray(pointer(outputs, np.float32), (n, _padded(n_classes))), labels[k], n_classes
    )
    _backward(layers, k, inputs, n, scratch, size, back, job.zeros)


@_inlined
def _outputs(layers: Any, k: int, job: Any, scratch: int) -> None:
    n, n_classes = job.n_at_once, layers[len(layers) - 1].n_outputs
    outputs = carray(pointer(job.outputs, np.float32), (job.n_networks, job.n_examples, n_classes))
    for start in range(0, job.n_examples, n):
        first = min(start, job.n_examples - n)
        inputs = job.inputs + FLOAT * first * layers[0].n_inputs
        packed = scratch + job.n_kept * job.layer_size
        last = _forward(layers, k, inputs, n, scratch, job.layer_size, job.n_kept, packed)
        found = carray(pointer(last, np.float32), (n, _padded(n_classes)))
        for r in range(n):
            for c in range(n_classes):
                outputs[k, first + r, c] = found[r, c]


def _networks(address: int) -> None:
    job = carray(pointer(address, JOB), 1)[0]
    layers = carray(pointer(job.layers, LAYER), job.n_layers)
    scratch = job.scratch + job.scratch_size * take_next(address + NEXT_SCRATCH)
    while True:
        k = take_next(address + NEXT_NETWORK)
        if k >= job.n_networks:
            break
        if job.outputs:
            _outputs(layers, k, job, scratch)
        else:
            _gradient(layers, k, job, scratch)


def object_file(name: str) -> bytes:
    """Return an object file with the function `void name(int64_t job)`."""
    return _object_file(_networks, name)
