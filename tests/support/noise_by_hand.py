"""The gradients that an attached optimizer must receive, computed without the hook.

They are g + std_t * N_t for every parameter that has a gradient.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn import Parameter

from gradnoise import annealed, attach
from gradnoise._noise import Noise

Parameters = dict[str, Parameter]
Closure = Callable[[], torch.Tensor]
Update = Callable[[Any, Closure], object]

SEED, ETA, GAMMA, N_UPDATES = 1, 0.3, 0.55, 6
STD = annealed(ETA, GAMMA).std


def add_noise(parameters: Iterable[tuple[str, Parameter]], seed: int, t: int, std: float) -> None:
    """Add the noise of update t under each parameter's name to a copy of its gradient."""
    for name, parameter in parameters:
        if parameter.grad is not None:
            parameter.grad = parameter.grad.clone()
            Noise(seed, {name: parameter.shape}).add_([parameter.grad], t, std)


def unnamed(optimizer: torch.optim.Optimizer) -> list[tuple[str, Parameter]]:
    """Return the parameters under their default names, `GROUP.POSITION`."""
    return [
        (f"{g}.{i}", parameter)
        for g, group in enumerate(optimizer.param_groups)
        for i, parameter in enumerate(group["params"])
    ]


def matrix_and_vector() -> Parameters:
    return {
        "weight": Parameter(torch.linspace(-1, 1, 6).view(2, 3)),
        "bias": Parameter(torch.zeros(2)),
    }


def matrix() -> Parameters:
    return {"weight": Parameter(torch.linspace(-1, 1, 6).view(2, 3))}


def gradients(parameters: Iterable[torch.Tensor], create_graph: bool = False) -> torch.Tensor:
    """Set gradients and return the loss.

    The gradients are smaller than the noise, so the noise changes their signs too.
    """
    parameters = list(parameters)
    loss = sum((0.1 * (parameter - 2.0) ** 2).sum() for parameter in parameters)
    assert isinstance(loss, torch.Tensor)
    for parameter, gradient in zip(
        parameters, torch.autograd.grad(loss, parameters, create_graph=create_graph), strict=True
    ):
        parameter.grad = gradient
    return loss.detach()


def step(optimizer: torch.optim.Optimizer, closure: Closure) -> None:
    closure()
    optimizer.step()


def step_with_closure(optimizer: torch.optim.Optimizer, closure: Closure) -> None:
    optimizer.step(closure)


def assert_noise_reaches(
    make: Callable[[Any], torch.optim.Optimizer],
    net: Callable[[], Parameters] = matrix_and_vector,
    update: Update = step,
    named: bool = True,
    create_graph: bool = False,
) -> None:
    """Assert that training with the hook equals training with the same noise added by hand.

    The two agree bit for bit; training without noise differs.
    """
    ends = []
    for kind in ("hook", "hand", "none"):
        torch.manual_seed(0)  # some optimizers draw random numbers
        parameters = net()
        optimizer = make(list(parameters.items()) if named else list(parameters.values()))
        names = list(parameters.items()) if named else unnamed(optimizer)
        noise = attach(optimizer, eta=ETA, gamma=GAMMA, seed=SEED) if kind == "hook" else None
        for t in range(N_UPDATES):

            def closure(
                kind: str = kind,
                t: int = t,
                parameters: Parameters = parameters,
                names: Any = names,
            ) -> torch.Tensor:
                loss = gradients(parameters.values(), create_graph)
                if kind == "hand":
                    add_noise(names, SEED, t, STD(t))
                return loss

            update(optimizer, closure)
            assert noise is None or noise.t == t + 1
        ends.append(parameters)
    hook, hand, none = ends
    assert all(torch.equal(hook[name], hand[name]) for name in hook)
    assert any(not torch.equal(hook[name], none[name]) for name in hook)
