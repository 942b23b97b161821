"""The tasks of the neural GPU: examples on binary sequences."""

import functools
import itertools
from collections.abc import Sequence

import numpy as np
import torch

from gradnoise._keys import key
from gradnoise.workloads.base import Splits

N_TRAIN = 10_000
N_HELD_OUT = 200
DATA_SEED = 1511
OPERATOR, PAD = 2, 3


@functools.lru_cache(maxsize=4)
def data(task: str, longest: int, test_bits: int) -> Splits:
    """Return a task's examples: training (inputs, targets, draws) in every length up to longest."""

    def split(
        name: str, n: int, lengths: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        draw = np.random.Generator(np.random.Philox(key=key(DATA_SEED, name, task)))
        symbols = np.full((2, n, len(lengths), n_symbols(task, lengths[-1])), PAD, dtype=np.int8)
        for i, (j, n_bits) in itertools.product(range(n), enumerate(lengths)):
            symbols[:, i, j, : n_symbols(task, n_bits)] = example(task, n_bits, draw)
        inputs, targets = torch.from_numpy(symbols)
        return inputs, targets, torch.from_numpy(draw.random((n, 2)))

    validation, test = (
        tuple(part[:, 0] for part in split(name, N_HELD_OUT, [n])[:2])
        for name, n in (("validation", longest), ("test", test_bits))
    )
    return Splits(
        train=split("train", N_TRAIN, range(1, longest + 1)), validation=validation, test=test
    )


def n_symbols(task: str, n_bits: int) -> int:
    """Return the number of symbols of an example."""
    return n_bits if task in ("copy", "reverse") else 2 * n_bits + 1


def example(task: str, n_bits: int, draw: np.random.Generator) -> tuple[list[int], list[int]]:
    """Return an input and its target, of equal length.

    The symbols are 0, 1, the operator 2, and the pad 3 after the bits of the result.

    | task | input | target |
    |---|---|---|
    | addition | a, operator, b, with d bits each, the lowest first | the d + 1 bits of a + b |
    | multiplication | likewise | the 2 d bits of a b |
    | copy, reverse | d bits | the same bits, as they are or reversed |
    """
    bits = draw.integers(2, size=(2, n_bits)).tolist()
    if task in ("copy", "reverse"):
        return bits[0], bits[0] if task == "copy" else bits[0][::-1]
    a, b = (int("".join(map(str, reversed(operand))), 2) for operand in bits)
    result, n_result = (a + b, n_bits + 1) if task == "addition" else (a * b, 2 * n_bits)
    target = [result >> i & 1 for i in range(n_result)]
    return [*bits[0], OPERATOR, *bits[1]], target + [PAD] * (n_symbols(task, n_bits) - n_result)
