import random

import numpy as np
import torch

from gradnoise.training.randomness import Randomness


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_each_trial_draws_as_if_it_were_alone() -> None:
    alone = Randomness(1)
    with alone.lent():
        expected = [draw(), draw()]
    one, other = Randomness(1), Randomness(2)
    with one.lent():
        first = draw()
    with other.lent():
        assert draw() != first
    with one.lent():
        assert [first, draw()] == expected


def test_the_callers_generators_go_on_where_they_were() -> None:
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
