import itertools

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradnoise.workloads.paper.nram import Nram
from gradnoise.workloads.paper.nram.data import ANY, cells_needed, example

TASKS = ("access", "increment", "copy", "reverse", "listk")


def solved(task: str, memory: list[int]) -> dict[int, int]:
    """Return the values that a program writes for this memory, by cell."""
    if task == "access":
        return {0: memory[memory[0] + 1]}
    if task == "increment":
        return {i: value + 1 for i, value in enumerate(itertools.takewhile(bool, memory))}
    if task in ("copy", "reverse"):
        source = memory[1 : memory[0]]
        return dict(enumerate(source if task == "copy" else reversed(source), memory[0]))
    node, k, out = memory[:3]
    for _ in range(k):
        node = memory[node]
    return {out: memory[node + 1]}


@settings(max_examples=200, deadline=None)
@given(
    task=st.sampled_from(TASKS),
    length=st.integers(1, 12),
    room=st.integers(0, 6),
    seed=st.integers(0, 2**32),
)
def test_the_target_is_the_result_of_a_program(
    task: str, length: int, room: int, seed: int
) -> None:
    """For the smallest memory and larger ones; all numbers of memory and target are legal."""
    size = max(cells_needed(task, length), 4) + room
    memory, target = example(task, length, size, np.random.default_rng(seed))
    assert len(memory) == len(target) == size
    assert all(0 <= number < size for number in memory)
    assert {i: number for i, number in enumerate(target) if number != ANY} == solved(task, memory)
    assert all(number < size for number in target)
    if task == "listk":
        node, seen = memory[0], 0
        while node:
            node, seen = memory[node], seen + 1
        assert seen == length
        assert memory[1] < length


def test_the_splits_are_fixed_and_contain_every_length() -> None:
    data = Nram({"task": "copy", "longest": 3}).data()
    assert [tuple(part.shape) for part in data.train] == [(5_000, 3, 8), (5_000, 3, 8), (5_000, 3)]
    for split in (data.train, data.validation, data.test):
        memory, target, _ = split
        assert bool(((target != ANY).sum(2) == torch.tensor([1, 2, 3])).all())
        assert bool((memory[:, :, 0] == torch.tensor([2, 3, 4])).all())
    assert not torch.equal(data.validation[0], data.test[0])
    assert torch.equal(Nram({"task": "copy", "longest": 3}).data().train[0], data.train[0])
