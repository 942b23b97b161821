"""`attach`: noise on the gradients of an optimizer."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch

from gradnoise._hook.factors import checked
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
    names: Iterable[tuple[str, torch.Tensor]] | None = None,
    noise_scale: Mapping[str, float] = {},
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
    index, so replicas with the same seed have the same noise. The optimizer's checkpoints contain
    t. There is no guarantee of differential privacy.

    Args:
        optimizer: Any torch optimizer except LBFGS, whose line search needs the same gradient at
            the same weights, and optimizers that update during the backward pass. For a wrapper,
            noise is attached to the optimizer inside it. Copies by `deepcopy` or pickle lose their
            hooks: call `reattach`.
        process: The noise process: `annealed(eta, gamma)`, `constant(std)`, `anticorrelated(std)`,
            `preconditioned(eta, gamma)`, or `NoiseProcess.of(schedule)` for a function from t to
            the standard deviation.
        seed: Seeds the noise; at least 0. It has no default: runs with the same seed have the same
            noise, as do two optimizers whose parameters share names.
        eta: In place of a process: variance of annealed noise at t = 0, in squared gradient units;
            at least 0.
        gamma: With eta: decay exponent, dimensionless; at least 0. 0.55 by default, as in the
            paper.
        names: The names of the optimizer's parameters, among others: `model.named_parameters()`.
            None: the names that the optimizer was given (`SGD(model.named_parameters(), ...)`),
            else `<group>.<index>`.
        noise_scale: Factors of the noise by pattern of names, such as `{"*.bias": 0.0}`, each at
            least 0; the first pattern that matches a name counts, in the syntax of `fnmatch`. They
            multiply the factors of groups, `group["noise_scale"]`. 1 by default.
        allow: Kinds of gradients that raise an error otherwise. `sparse`: noise on the rows that
            the gradient holds. `complex`: noise on the real and on the imaginary part, each of
            standard deviation std_t.
        measure_ratio: Whether to compute `ratio` at each update.

    Returns:
        The handle. `remove()`, or leaving its `with` block, ends the noise.

    Raises:
        TypeError: If an argument is of the wrong type, or the optimizer cannot have noise. An
            update raises it for a gradient of a kind that is not allowed.
        ValueError: If not exactly one of process and eta is given, gamma is given with a process, a
            value is out of range, the optimizer already has noise, a parameter has no name, two
            share a name, or a pattern matches no name.

    Warns:
        UserWarning: Once for each of these: no parameter has a gradient at an update; a parameter
            that requires no gradient has a gradient of 0, and so gets noise; two optimizers whose
            updates alternate have the same noise; ranks that train one model have different noise.

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
    if isinstance(allow, str) or not isinstance(allow, Collection):
        raise TypeError(f"allow must be a list of kinds, such as ['sparse'], but got {allow=}.")
    unknown = [kind for kind in allow if kind not in KINDS]
    if unknown:
        raise ValueError(f"allow must contain only {' and '.join(KINDS)}, but got {unknown[0]!r}.")
    process = _process(process, eta, gamma)
    if not process.uses_norm:
        process.checked_terms(0)
    return GradientNoise(
        optimizer,
        process,
        seed,
        allow=allow,
        measure_ratio=measure_ratio,
        patterns=checked(noise_scale),
        names=names,
        is_watched=True,
    )


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
