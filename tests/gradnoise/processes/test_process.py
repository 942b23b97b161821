import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from gradnoise._processes import (
    NoiseProcess,
    annealed,
    anticorrelated,
    constant,
    preconditioned,
)
from gradnoise._processes.process import tabulate
from gradnoise.techniques.contribution import SummedTerms

MAKERS: list[Callable[[float], NoiseProcess]] = [
    lambda x: annealed(eta=x, gamma=0.55),
    lambda x: constant(std=x),
    lambda x: anticorrelated(std=x),
    lambda x: preconditioned(eta=x, gamma=0.55),
]
NAMES = ["annealed", "constant", "anticorrelated", "preconditioned"]


def hyperbolic(t: int) -> float:
    return 0.1 / (1 + t)


@pytest.mark.parametrize("make", MAKERS, ids=NAMES)
def test_processes_are_equal_if_their_parameters_are(make: Callable[[float], NoiseProcess]) -> None:
    assert make(0.1) == make(0.1)
    assert hash(make(0.1)) == hash(make(0.1))
    assert make(0.1) != make(0.2)


def test_processes_of_different_kinds_differ() -> None:
    assert len({make(0.1) for make in MAKERS}) == len(MAKERS)


@pytest.mark.parametrize("make", MAKERS, ids=NAMES)
def test_a_process_survives_pickling(make: Callable[[float], NoiseProcess]) -> None:
    process = make(0.1)
    copy = pickle.loads(pickle.dumps(process))
    assert copy == process
    assert copy.terms(7) == process.terms(7)


def test_a_process_of_a_module_level_function_survives_pickling() -> None:
    process = NoiseProcess.of(hyperbolic)
    assert pickle.loads(pickle.dumps(process)) == process
    assert process.terms(4) == ((4, 0.02),)


@pytest.mark.parametrize("std", [-0.1, math.nan, math.inf])
def test_a_schedule_that_returns_no_standard_deviation_raises_an_error(std: float) -> None:
    with pytest.raises(ValueError, match=r"at least 0 and finite, but returned .* at t=3"):
        NoiseProcess.of(lambda t: std if t == 3 else 1.0).terms(3)


@pytest.mark.parametrize("std", [torch.tensor(0.5), np.float32(0.5), np.float64(0.5)], ids=repr)
def test_a_schedule_may_return_a_tensor_or_a_numpy_number(std: float) -> None:
    assert NoiseProcess.of(lambda _t: std).terms(3) == ((3, 0.5),)


def test_a_schedule_that_is_no_function_raises_an_error() -> None:
    with pytest.raises(TypeError, match=r"schedule must be a function .*, but got 0.1"):
        NoiseProcess.of(0.1)  # type: ignore[arg-type]


def test_the_std_of_a_process_is_the_root_of_the_sum_of_squares() -> None:
    process = NoiseProcess(terms=lambda t: [(t, 0.3), (t + 5, -0.4)])
    assert process.std(7) == pytest.approx(0.5)
    assert NoiseProcess(terms=lambda _t: ()).std(7) == 0.0


@pytest.mark.parametrize("first", [0, 1, 123_456])
@pytest.mark.parametrize(
    "terms",
    [
        annealed(0.3, 0.55).terms,
        constant(0.1).terms,
        anticorrelated(0.1).terms,
        NoiseProcess.of(lambda t: 1 / (3 + t)).terms,
        SummedTerms((anticorrelated(0.1).terms, annealed(0.3, 0.55).terms)),
        lambda t: [(t, 0.1), (t - 1, 0.05)] if t else [(t, 0.1)],
    ],
)
def test_tabulated_terms_are_those_of_each_update_to_the_last_bit(terms: Any, first: int) -> None:
    """Terms whose std is 0 fill the table and add nothing."""
    updates = range(first, first + 500)
    ts, stds = tabulate(terms, updates)
    assert ts.shape == stds.shape
    for i, t in enumerate(updates):
        columns = zip(ts[:, i].tolist(), stds[:, i].tolist(), strict=True)
        assert [(drawn, std) for drawn, std in columns if std] == list(terms(t))
