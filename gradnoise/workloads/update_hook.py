"""What a training function's optimizer does before an update: transform, clip, add the noise."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch

from gradnoise._hook import GradientNoise, attach
from gradnoise._hook.gradients import global_norm
from gradnoise._hook.optimizers import innermost, parameters_by_name
from gradnoise._processes import NoiseProcess, noise_to_gradient


class Transforms(Protocol):
    """The arm's transformations of the gradients of some parameters, with what they keep."""

    @property
    def kept(self) -> Sequence[Mapping[str, torch.Tensor]]:
        """What they keep from update to update."""

    def transform(self, t: int) -> None:
        """Transform the gradients of update t."""

    def load(self, kept: Sequence[Mapping[str, torch.Tensor]]) -> None:
        """Restore `kept` from a checkpoint."""


MakeTransforms = Callable[[Mapping[str, torch.Tensor]], Transforms]
"""From parameters by name to the transformations of their gradients."""


class UpdateHook:
    """The arm's transformations, the study's clipping and the arm's noise, inside `step()`.

    The order is that of declared workloads: transform the gradient, clip each coordinate to
    [-clip_value, clip_value], clip to the global L2 norm clip_norm, add the noise. A closure passed
    to `step` is run first.

    Args:
        optimizer: The optimizer, or a wrapper of it as `gradnoise.attach` takes.
        process: The arm's noise; None: no noise.
        transforms: Makes the arm's transformations; None: there are none.
        seed: Seeds the noise.
        clip_value: Largest absolute value of a coordinate; None: no limit.
        clip_norm: Largest L2 norm of the gradient of all its parameters; None: no limit.

    Attributes:
        optimizer: The innermost optimizer.
        noise: The handle of the noise; None without noise.
        measures: Whether the next update measures `noise_to_gradient`.
        noise_to_gradient: As last measured, by this name; empty where it is not defined.

    Raises:
        TypeError, ValueError: As `gradnoise.attach`.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        process: NoiseProcess | None,
        transforms: MakeTransforms | None,
        *,
        seed: int,
        clip_value: float | None,
        clip_norm: float | None,
    ) -> None:
        self.optimizer = innermost(optimizer)
        self.measures = True
        self.noise_to_gradient: Mapping[str, float] = {}
        self._process = process
        self._t = 0
        self._transforms = transforms(parameters_by_name(self.optimizer)) if transforms else None
        self._clip_value, self._clip_norm = clip_value, clip_norm
        # registered before the noise, so it runs before it
        self.optimizer.register_step_pre_hook(
            torch.compiler.disable(self._before)  # type: ignore[no-untyped-call]
        )
        self.noise: GradientNoise | None = None
        if process is not None:
            self.noise = attach(optimizer, process, seed=seed)

    @property
    def t(self) -> int:
        """Updates so far that the arm's techniques acted on."""
        return self._t if self.noise is None else self.noise.t

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {
            "t": self._t,
            "noise": None if self.noise is None else self.noise.state_dict(),
            "kept": [] if self._transforms is None else list(self._transforms.kept),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self._t = state["t"]
        if self.noise is not None:
            self.noise.load_state_dict(state["noise"])
        if self._transforms is not None:
            self._transforms.load(state["kept"])

    @property
    def settings(self) -> dict[str, Any]:
        """The optimizer's class and the settings of its first group, as JSON values."""
        group = self.optimizer.param_groups[0]
        kind = type(self.optimizer)
        plain = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in group.items()
            if isinstance(value, int | float | str | tuple | None)
        }
        plain.pop("gradnoise_t", None)
        return {
            "class": f"{kind.__module__}.{kind.__qualname__}",
            "n_parameters": sum(
                each.numel() for group in self.optimizer.param_groups for each in group["params"]
            ),
            "settings": plain,
        }

    def _before(
        self, _optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any] | None:
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if not callable(closure):
            self._prepare()
            return None
        prepared = self._after_closure(closure)
        return (
            (args, kwargs | {"closure": prepared})
            if "closure" in kwargs
            else ((args[0], prepared, *args[2:]), kwargs)
        )

    def _after_closure(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        def prepared() -> Any:
            with torch.enable_grad():
                loss = closure()
            self._prepare()
            return loss

        return prepared

    def _prepare(self) -> None:
        if self._transforms is not None:
            self._transforms.transform(self._t)
        self._t += 1
        measures = self.measures and self.noise is not None
        if not measures and self._clip_value is None and self._clip_norm is None:
            return
        parameters = [
            parameter
            for group in self.optimizer.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        if self._clip_value is not None:
            torch.nn.utils.clip_grad_value_(parameters, self._clip_value)
        if self._clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, self._clip_norm)
        if measures and parameters:
            self._measure(parameters)

    def _measure(self, parameters: Sequence[torch.Tensor]) -> None:
        assert self._process is not None
        assert self.noise is not None
        n_weights = sum(parameter.numel() for parameter in parameters)
        norm = float(global_norm(parameter.grad for parameter in parameters))
        self.noise_to_gradient = noise_to_gradient(self._process, self.noise.t, n_weights, norm)
        self.measures = False
