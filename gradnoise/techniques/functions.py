"""Pure functions on tensors, by which a technique changes an update.

Trials with the same functions train as one model under `torch.func.vmap`: a function sees the
tensors of one trial, and its hyperparameters as tensors without dimensions, of float64.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

Tensors = Mapping[str, torch.Tensor]
"""Tensors by the names of the model's parameters or, in a state, by any name."""


@dataclass(frozen=True, kw_only=True)
class TensorFunction:
    """A pure function on tensors, with a trial's values of its hyperparameters.

    It draws no random numbers, changes no argument, and does not branch on values.

    Args:
        function: Takes, by name, the hyperparameters and those of the arguments offered at its
            place that it has in its signature. A function at the top of a module: functions made
            anew for each trial keep its trials from training as one model.
        hyper: The values by name.
    """

    function: Callable[..., Any]
    hyper: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, hyper: Tensors, **offered: Any) -> Any:
        """Call the function with these hyperparameters in place of its own."""
        return self.function(**{name: offered[name] for name in self._takes}, **hyper)

    @property
    def structure(self) -> tuple[object, ...]:
        """Equal for trials that can train as one model."""
        return self.function, tuple(sorted(self.hyper))

    @cached_property
    def _takes(self) -> tuple[str, ...]:
        arguments = inspect.signature(self.function).parameters
        return tuple(name for name in arguments if name not in self.hyper)


@dataclass(frozen=True, kw_only=True)
class GradientTransform(TensorFunction):
    """A transformation of the gradient: offered are `gradient`, `weights`, `state` and `t`.

    Args:
        function: Returns the gradient, tensors of the same names and shapes; with a state, the
            gradient and the new state.
        start: Returns the first state from the initial weights; None: the function has no state.
    """

    start: Callable[[Tensors], Tensors] | None = None

    def apply(
        self, hyper: Tensors, gradient: Tensors, weights: Tensors, state: Tensors, t: torch.Tensor
    ) -> tuple[Tensors, Tensors]:
        """Return the transformed gradient and the new state.

        Raises:
            ValueError: If the function returns tensors of other names.
        """
        found = self(hyper, gradient=gradient, weights=weights, state=state, t=t)
        transformed, new = found if self.start is not None else (found, {})
        for kind, names, known in (
            ("gradient", transformed.keys(), gradient.keys()),
            ("state", new.keys(), state.keys()),
        ):
            if names != known:
                raise ValueError(
                    f"{self.function.__name__} must return a {kind} with the names "
                    f"{', '.join(known)}, but got {', '.join(names)}."
                )
        return transformed, new

    def first_state(self, weights: Tensors) -> dict[str, torch.Tensor]:
        """Return the state before the first update."""
        if self.start is None:
            return {}
        return {name: tensor.detach().clone() for name, tensor in self.start(weights).items()}

    @property
    def structure(self) -> tuple[object, ...]:
        return *super().structure, self.start


def total_norm(tensors: Tensors) -> torch.Tensor:
    """Return the L2 norm of all tensors together, a tensor without dimensions.

    >>> total_norm({"a": torch.tensor([3.0]), "b": torch.tensor([[0.0, 4.0]])})
    tensor(5.)
    """
    norms = [torch.linalg.vector_norm(tensor) for tensor in tensors.values()]
    whole: torch.Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return whole
