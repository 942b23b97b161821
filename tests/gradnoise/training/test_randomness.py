import random

import numpy as np
import pytest
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


class Device:
    """A generator in the place of those of `torch.cuda`, where torch has used no GPU yet."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_used = False
        self._generator = torch.Generator()
        for name, stands_in in {
            "is_available": lambda: True,
            "is_initialized": lambda: self.is_used,
            "manual_seed_all": self._generator.manual_seed,
            "get_rng_state_all": lambda: [self._generator.get_state()],
            "set_rng_state_all": lambda states: self._generator.set_state(*states),
        }.items():
            monkeypatch.setattr(torch.cuda, name, stands_in)

    def draw(self) -> float:
        self.is_used = True
        return float(torch.rand((), generator=self._generator))


def test_a_device_draws_from_the_seed_of_each_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where torch first uses it after several trials were opened, and after a checkpoint."""
    device = Device(monkeypatch)
    with Randomness(1).lent():
        expected = [device.draw(), device.draw()]
    device = Device(monkeypatch)
    trial, other = Randomness(1), Randomness(2)
    with trial.lent():
        first = device.draw()
    with other.lent():
        assert device.draw() != first
    resumed = Randomness(1)
    resumed.load(trial.state())
    resumed.start()
    assert [first, device.draw()] == expected
