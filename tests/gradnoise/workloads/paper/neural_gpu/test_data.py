import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradnoise.workloads.paper.neural_gpu import NeuralGpu
from gradnoise.workloads.paper.neural_gpu.data import OPERATOR, PAD, example, n_symbols

TASKS = ("addition", "multiplication", "copy", "reverse")


def number(bits: list[int]) -> int:
    return sum(bit << i for i, bit in enumerate(bits))


@settings(max_examples=200, deadline=None)
@given(task=st.sampled_from(TASKS), n_bits=st.integers(1, 250), seed=st.integers(0, 2**32))
def test_the_target_is_the_result(task: str, n_bits: int, seed: int) -> None:
    inputs, target = example(task, n_bits, np.random.default_rng(seed))
    assert len(inputs) == len(target) == n_symbols(task, n_bits)
    if task in ("copy", "reverse"):
        assert set(inputs) <= {0, 1}
        assert target == (inputs if task == "copy" else inputs[::-1])
        return
    assert inputs[n_bits] == OPERATOR
    a, b = number(inputs[:n_bits]), number(inputs[n_bits + 1 :])
    n_result = n_bits + 1 if task == "addition" else 2 * n_bits
    assert set(target[:n_result]) <= {0, 1}
    assert set(target[n_result:]) == ({PAD} if len(target) > n_result else set())
    assert number(target[:n_result]) == (a + b if task == "addition" else a * b)


def test_the_splits_are_fixed_and_have_the_given_lengths() -> None:
    data = NeuralGpu({"longest": 3, "test_bits": 12}).data()
    inputs, targets, draws = data.train
    assert (inputs.shape, targets.shape, draws.shape) == (
        (10_000, 3, 7),
        (10_000, 3, 7),
        (10_000, 2),
    )
    assert bool(((inputs != PAD).sum(2) == torch.tensor([3, 5, 7])).all())
    assert bool(((targets != PAD).sum(2) == torch.tensor([2, 3, 4])).all())
    assert [tuple(part.shape) for part in (*data.validation, *data.test)] == [(200, 7)] * 2 + [
        (200, 25)
    ] * 2
    ones = (data.test[0] == 1).double().mean() * 25 / 24
    assert abs(float(ones) - 0.5) < 5 * 0.5 / math.sqrt(200 * 24)
    again = NeuralGpu({"longest": 3, "test_bits": 12, "maps": 4}).data()
    assert torch.equal(again.test[0], data.test[0])
    assert not torch.equal(NeuralGpu({"longest": 3}).data().test[0], data.validation[0])
