"""The tasks of the machine: examples on pointers, arrays and linked lists."""

import functools

import numpy as np
import torch

from gradnoise._keys import key
from gradnoise.workloads.base import Batch, Splits

CELLS = {"access": (1, 2), "increment": (1, 1), "copy": (2, 1), "reverse": (2, 1), "listk": (2, 4)}
"""For each task the cells that an example needs per number, and beside the numbers."""

N_TRAIN = 5_000
N_HELD_OUT = 100
DATA_SEED = 1511
ANY = -1


@functools.lru_cache(maxsize=4)
def data(task: str, longest: int, size: int) -> Splits:
    """Return a task's examples (memory, target, draws), each example in every length."""

    def split(name: str, n: int) -> Batch:
        draw = np.random.Generator(np.random.Philox(key=key(DATA_SEED, name, task)))
        rows = [
            [example(task, length, size, draw) for length in range(1, longest + 1)]
            for _ in range(n)
        ]
        memory, target = torch.tensor(rows, dtype=torch.int8).unbind(2)
        draws = np.column_stack([draw.random((n, 2)), draw.geometric(0.5, n) - 1])
        return memory.contiguous(), target.contiguous(), torch.from_numpy(draws)

    return Splits(
        train=split("train", N_TRAIN),
        validation=split("validation", N_HELD_OUT),
        test=split("test", N_HELD_OUT),
    )


def cells_needed(task: str, length: int) -> int:
    """Return the smallest memory that holds an example of this length, in cells."""
    per_number, more = CELLS[task]
    return per_number * length + more


def example(
    task: str, length: int, size: int, draw: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Return a memory of `size` cells and its target values, -1 where any number is right.

    | task | memory | target |
    |---|---|---|
    | access | k, A[0], ..., A[n-1], 0 | A[k] in cell 0 |
    | increment | A[0], ..., A[n-1], 0 | A[0] + 1, ..., A[n-1] + 1 |
    | copy | n + 1, A[0], ..., A[n-1] | A[0], ..., A[n-1] from cell n + 1 on |
    | reverse | n + 1, A[0], ..., A[n-1] | A[n-1], ..., A[0] from cell n + 1 on |
    | listk | head, k, out, n nodes at random odd cells | node k's value, k from 0, in cell out |

    A node is two cells: the index of the next node, 0 at the end, and its value. Neither a value
    nor a value plus 1 is 0.
    """
    memory, target = [0] * size, [ANY] * size
    values = draw.integers(1, size - 1, length).tolist()
    k = int(draw.integers(length))
    if task == "access":
        memory[: length + 1] = [k, *values]
        target[0] = values[k]
    elif task == "increment":
        memory[:length] = values
        target[:length] = [value + 1 for value in values]
    elif task in ("copy", "reverse"):
        memory[: length + 1] = [length + 1, *values]
        target[length + 1 : 2 * length + 1] = values if task == "copy" else values[::-1]
    else:
        nodes = [3 + 2 * i for i in draw.permutation((size - 3) // 2)[:length].tolist()]
        free = sorted({*range(3, size)} - {*nodes} - {node + 1 for node in nodes})
        out = free[int(draw.integers(len(free)))]
        memory[:3] = [nodes[0], k, out]
        for node, next_node, value in zip(nodes, [*nodes[1:], 0], values, strict=True):
            memory[node : node + 2] = [next_node, value]
        target[out] = values[k]
    return memory, target
