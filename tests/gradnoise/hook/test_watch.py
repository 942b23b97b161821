"""Warnings of optimizers that share noise; those of ranks are in test_distributed.py."""

import gc
import warnings
from typing import Any

import pytest
import torch

from gradnoise import GradientNoise, attach


def stepping_in_backward(model: torch.nn.Module, **names: Any) -> list[GradientNoise]:
    """Give every parameter an optimizer that steps within the backward pass."""
    noises = []
    for parameter in model.parameters():
        optimizer = torch.optim.SGD([parameter], lr=0.1)
        noises.append(attach(optimizer, eta=0.1, seed=1, **names))

        def step(_: torch.Tensor, optimizer: torch.optim.Optimizer = optimizer) -> None:
            optimizer.step()
            optimizer.zero_grad()

        parameter.register_post_accumulate_grad_hook(step)
    return noises


def messages(model: torch.nn.Module, n: int = 3) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(n):
            model(torch.ones(1, 3)).sum().backward()
    return [str(warning.message) for warning in caught]


def net() -> torch.nn.Sequential:
    return torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Tanh(), torch.nn.Linear(3, 3))


def test_an_optimizer_for_every_parameter_causes_one_warning_without_names() -> None:
    """All are named 0.0, so equal shapes would get equal noise."""
    model = net()
    noises = stepping_in_backward(model)
    [message] = messages(model)
    assert "The parameter 0.0 of this SGD and the parameter 0.0 of another SGD" in message
    assert "names=model.named_parameters()" in message
    assert [noise.t for noise in noises] == [3] * 4


def test_an_optimizer_for_every_parameter_has_no_warning_with_names() -> None:
    model = net()
    noises = stepping_in_backward(model, names=list(model.named_parameters()))
    assert messages(model) == []
    assert len(noises) == 4


def alternate(seeds: tuple[int, int], *, by_name: bool) -> list[str]:
    """Update a generator and a discriminator in turns, five updates of the latter to one."""
    models = [net(), net()]
    optimizers = [
        torch.optim.SGD(model.named_parameters() if by_name else model.parameters(), lr=0.1)
        for model in models
    ]
    noises = [attach(o, eta=0.1, seed=seed) for o, seed in zip(optimizers, seeds, strict=True)]
    found = []
    for i in [0, 1, 1, 1, 1, 1] * 2:
        optimizers[i].zero_grad()
        found += messages(models[i], 1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            optimizers[i].step()
        found += [str(warning.message) for warning in caught]
    assert [noise.t for noise in noises] == [2, 10]
    return found


@pytest.mark.parametrize("by_name", [True, False])
def test_two_models_that_are_updated_in_turns_with_one_seed_cause_a_warning(by_name: bool) -> None:
    [message] = alternate((1, 1), by_name=by_name)
    name = "0.weight" if by_name else "0.0"
    assert f"The parameter {name} of this SGD and the parameter {name} of another SGD" in message
    assert "seed=1" in message
    assert alternate((1, 2), by_name=by_name) == []


def test_trainings_that_follow_each_other_may_have_the_same_seed() -> None:
    """Whether the first handle still exists or not."""
    kept = []
    for is_kept in (True, False, True):
        model = net()
        optimizer = torch.optim.SGD(model.named_parameters(), lr=0.1)
        noise = attach(optimizer, eta=0.1, seed=1)
        if is_kept:
            kept.append(noise)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for _ in range(3):
                model(torch.ones(1, 3)).sum().backward()
                optimizer.step()
        gc.collect()
    assert [noise.t for noise in kept] == [3, 3]
