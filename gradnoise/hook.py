"""Gradient noise for any torch optimizer: `attach` it, train as before."""

import sys
import warnings
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self

import torch

from gradnoise.noise import Noise
from gradnoise.schedules import Schedule, annealed


def attach(
    optimizer: torch.optim.Optimizer, *, seed: int, eta: float | None = None, gamma: float = 0.55, schedule: Schedule | None = None
) -> "GradientNoise":
    """Add g <- g + N(0, std_t^2) to every gradient just before each update of the optimizer; std_t^2 = eta / (1 + t)^gamma.

    The noise comes after whatever the training loop does to gradients before `optimizer.step()`, such as clipping and the sum over
    micro-batches, and before the learning rate, momentum and weight decay. It is independent for every coordinate and a function of seed, t
    and the parameter's name alone, so replicas that agree on the seed agree on the noise. Names are those that the optimizer was given
    (`SGD(model.named_parameters(), ...)`), else `<group>.<index>`. It makes no promise of differential privacy.

    Args:
        optimizer: Any optimizer with step hooks, but not LBFGS, whose line search needs the same gradient for the same weights. A copy by
            `deepcopy` or pickle loses its hooks: attach anew.
        seed: Seeds the noise; at least 0. There is no default: runs that share a seed share their noise.
        eta: Variance at t = 0, in squared gradient units; at least 0.
        gamma: Decay exponent; at least 0.
        schedule: A schedule of your own, in place of eta and gamma.

    Returns:
        The handle; `remove()` it, or use it as a context manager, to end the noise.

    Raises:
        TypeError: If the optimizer is LBFGS.
        ValueError: If not exactly one of eta and schedule is given, or a value is out of range.

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
    if isinstance(optimizer, torch.optim.LBFGS):
        raise TypeError("optimizer must not be LBFGS: its line search evaluates several gradients in one update.")
    if (eta is None) == (schedule is None):
        raise ValueError(f"give exactly one of eta and schedule, but got {eta=} and {schedule=}.")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, but got {seed=}.")
    return GradientNoise(optimizer, seed, annealed(eta, gamma) if eta is not None else schedule)  # type: ignore[arg-type]  # one of them is there


class GradientNoise:
    """The noise on one optimizer; `attach` makes it. `t` counts the updates done, `std` is that of the next update's noise."""

    def __init__(self, optimizer: torch.optim.Optimizer, seed: int, schedule: Schedule) -> None:
        self.t = 0
        self.seed = seed
        self._schedule = schedule
        self._noise: tuple[tuple[str, ...], Noise] | None = None
        self._hooks = [
            optimizer.register_step_pre_hook(torch.compiler.disable(self._before)),  # type: ignore[no-untyped-call]  # of torch
            optimizer.register_step_post_hook(torch.compiler.disable(self._after)),  # type: ignore[no-untyped-call]
        ]

    @property
    def std(self) -> float:
        return self._schedule(self.t)

    def remove(self) -> None:
        """End the noise; the optimizer goes on without."""
        for hook in self._hooks:
            hook.remove()

    def state_dict(self) -> dict[str, int]:
        """Return what a checkpoint needs so that training resumes with the same noise; the schedule is the configuration's."""
        return {"t": self.t, "seed": self.seed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Take up step count and seed from a checkpoint."""
        self.t, self.seed = state["t"], state["seed"]
        self._noise = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.remove()

    def _before(self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        if _is_nested(optimizer):
            return None
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            self._add(optimizer)
            return None
        noisy = self._after_closure(optimizer, closure)
        return (args, kwargs | {"closure": noisy}) if "closure" in kwargs else ((args[0], noisy, *args[2:]), kwargs)

    def _after(self, optimizer: torch.optim.Optimizer, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
        if _is_nested(optimizer):
            return
        found_inf = getattr(optimizer, "found_inf", None)
        if found_inf is None or not bool(found_inf):  # a fused optimizer under GradScaler skips an update with infinite gradients
            self.t += 1

    def _after_closure(self, optimizer: torch.optim.Optimizer, closure: Callable[[], Any]) -> Callable[[], Any]:
        def noisy() -> Any:
            with torch.enable_grad():
                loss = closure()
            self._add(optimizer)
            return loss

        return noisy

    @torch.no_grad()
    def _add(self, optimizer: torch.optim.Optimizer) -> None:
        gradients = dict(_gradients(optimizer))
        if not gradients:
            warnings.warn("No parameter of the optimizer has a gradient, so none got noise.", stacklevel=3)
            return
        names = tuple(gradients)
        if self._noise is None or self._noise[0] != names:
            self._noise = names, Noise(self.seed, {name: gradient.shape for name, gradient in gradients.items()})
        scale = getattr(optimizer, "grad_scale", None)  # of a fused optimizer under GradScaler: its gradients are still multiplied by it
        self._noise[1].add_(list(gradients.values()), self.t, self.std * (1.0 if scale is None else float(scale)))


def _gradients(optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, torch.Tensor]]:
    for g, group in enumerate(optimizer.param_groups):
        names = group.get("param_names") or [f"{g}.{i}" for i in range(len(group["params"]))]
        for name, parameter in zip(names, group["params"], strict=True):
            if parameter.grad is None:
                continue
            if parameter.grad.layout != torch.strided or parameter.grad.is_complex():
                kind = "complex" if parameter.grad.is_complex() else "sparse"
                raise TypeError(f"the gradient of {name} is {kind}: noise is defined for dense, real gradients only.")
            yield name, parameter.grad


def _is_nested(optimizer: torch.optim.Optimizer) -> bool:
    """Whether this hook fires within another step of the same optimizer, as a subclass's may call super().step(): the outermost counts."""
    step = type(optimizer).step.__code__  # the wrapper that fires the hooks, one code for every class
    n_steps = 0
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        n_steps += frame.f_code is step and frame.f_locals["args"][0] is optimizer
        frame = frame.f_back
    return n_steps > 1
