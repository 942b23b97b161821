import random

import numpy as np
import torch

from gradnoise.training.randomness import Randomness


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_each_trial_draws_the_numbers_that_it_draws_alone() -> None:
    alone = Randomness(1)
    with alone.lent():
        expected = [draw(), draw()]
    first_trial, other = Randomness(1), Randomness(2)
    with first_trial.lent():
        first = draw()
    with other.lent():
        assert draw() != first
    with first_trial.lent():
        assert [first, draw()] == expected


def test_the_callers_generators_are_unchanged_afterwards() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    expected = [draw(), draw()]
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    found = [draw()]
    with Randomness(1).lent():
        draw()
    assert [*found, draw()] == expected
