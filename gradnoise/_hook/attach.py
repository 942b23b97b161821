"""`attach`: noise on the gradients of an optimizer."""

import operator
from collections.abc import Collection
from typing import Any

import torch

from gradnoise._hook.handle import GradientNoise
from gradnoise._processes import NoiseProcess, annealed

GAMMA = 0.55
KINDS = ("sparse", "complex")


def attach(
    optimizer: torch.optim.Optimizer,
    process: NoiseProcess | None = None,
    *,
    seed: int,
    eta: float | None = None,
    gamma: float | None = None,
    allow: Collection[str] = (),
    measure_ratio: bool = False,
) -> GradientNoise:
    """Add noise to every gradient just before each update of the optimizer.

    With eta and gamma, g <- g + N(0, std_t^2) with std_t^2 = eta / (1 + t)^gamma, the method of
    Neelakantan et al. 2015, arXiv:1511.06807; else the noise of the process.

    The noise is added inside `optimizer.step()`: after clipping, gradient accumulation and all that
    the training loop does to gradients before, and before learning rate, momentum and weight decay.
    Step hooks registered later run after it. The noise stays in `.grad` until the gradients are
    zeroed.

    The noise of an element is a function of the seed, t, the parameter's name and the element's
    index, so replicas with the same seed have the same noise. Names are those that the optimizer
    was given (`SGD(model.named_parameters(), ...)`), else `<group>.<index>`. The optimizer's
    checkpoints contain t. There is no guarantee of differential privacy.

    Args:
        optimizer: Any torch optimizer except LBFGS, whose line search needs the same gradient at
            the same weights. For a wrapper with an `.optimizer` (as Accelerate's) or a
            `.base_optimizer` (as SAM's), noise is attached to the innermost optimizer. Copies by
            `deepcopy` or pickle lose their hooks: call `reattach`.
        process: The noise process: `annealed(eta, gamma)`, `constant(std)`, `anticorrelated(std)`,
            `preconditioned(eta, gamma)`, or `NoiseProcess.of(schedule)` for a function from t to
            the standard deviation.
        seed: Seeds the noise; at least 0. It has no default: runs with the same seed have the same
            noise, as do two optimizers whose parameters share names.
        eta: In place of a process: variance of annealed noise at t = 0, in squared gradient units;
            at least 0.
        gamma: With eta: decay exponent, dimensionless; at least 0. 0.55 by default, as in the
            paper.
        allow: Kinds of gradients that raise an error otherwise. `sparse`: noise on the rows that
            the gradient holds. `complex`: noise on the real and on the imaginary part, each of
            standard deviation std_t.
        measure_ratio: Whether to compute `ratio` at each update.

    Returns:
        The handle. `remove()`, or leaving its `with` block, ends the noise.

    Raises:
        TypeError: If the process is no NoiseProcess, the seed is no integer, or the optimizer is
            LBFGS, shards its state by ZeRO, or is no torch optimizer. An update raises it for a
            gradient of a kind that is not allowed.
        ValueError: If not exactly one of process and eta is given, gamma is given with a process, a
            value is out of range, the optimizer already has noise, or two of its parameters share a
            name.

    Warns:
        UserWarning: Once, at an update at which no parameter has a gradient.

    >>> model = torch.nn.Linear(3, 1)
    >>> optimizer = torch.optim.SGD(model.named_parameters(), lr=0.1)
    >>> noise = attach(optimizer, eta=0.01, gamma=0.55, seed=1)
    >>> model(torch.ones(2, 3)).sum().backward()
    >>> noise.t, round(noise.std, 3)
    (0, 0.1)
    >>> optimizer.step()
    >>> noise.t, round(noise.std, 3)
    (1, 0.083)
    """
    unknown = sorted(set(allow) - set(KINDS))
    if unknown:
        raise ValueError(f"allow must contain only {' and '.join(KINDS)}, but got {unknown[0]!r}.")
    process = _process(process, eta, gamma)
    return GradientNoise(optimizer, process, _seed(seed), allow, measure_ratio)


def _process(process: Any, eta: float | None, gamma: float | None) -> NoiseProcess:
    if process is not None and not isinstance(process, NoiseProcess):
        raise TypeError(
            f"process must be a NoiseProcess, but got {process!r}. {_suggestion(process)}"
        )
    if (process is None) == (eta is None):
        raise ValueError(
            f"give exactly one of process and eta, but got process={process!r} and {eta=}."
        )
    if eta is not None:
        return annealed(eta, GAMMA if gamma is None else gamma)
    if gamma is not None:
        raise ValueError(
            f"gamma belongs to eta and would be ignored beside a process, but got {gamma=}: pass "
            "it to the process, as in annealed(eta, gamma)."
        )
    assert isinstance(process, NoiseProcess)  # eta is None, so the process is given
    return process


def _suggestion(process: object) -> str:
    if isinstance(process, int | float):
        return f"Pass eta={process} for annealed noise, or constant({process})."
    if callable(process):
        return (
            "Pass NoiseProcess.of(schedule) for a function from t to the standard deviation, or "
            "the result of a call such as annealed(eta=0.01, gamma=0.55)."
        )
    return "Pass a process such as annealed(eta=0.01, gamma=0.55), constant(std=0.1), or eta=0.01."


def _seed(seed: Any) -> int:
    if not hasattr(seed, "__index__"):
        raise TypeError(f"seed must be an integer, but got {seed=}.")
    value = int(operator.index(seed))
    if value < 0:
        raise ValueError(f"seed must be at least 0, but got {seed=}.")
    return value
