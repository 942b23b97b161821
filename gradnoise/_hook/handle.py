"""The handle of the noise on an optimizer: its count t, its state, and the step hooks."""

import functools
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import torch

from gradnoise._hook.adder import Gradients, NoiseAdder
from gradnoise._hook.optimizers import check, innermost
from gradnoise._hook.torch_internals import (
    is_nested_step,
    is_phantom_step,
    skips_its_update,
    step_pre_hooks,
)
from gradnoise._processes import NoiseProcess

KEY = "gradnoise_t"


class GradientNoise:
    """The noise on an optimizer, as returned by `attach`.

    Attributes:
        seed: Seeds the noise; at least 0.

    >>> from gradnoise import attach
    >>> weight = torch.nn.Parameter(torch.zeros(4))
    >>> optimizer = torch.optim.SGD([("weight", weight)], lr=1.0)
    >>> with attach(optimizer, eta=0.04, seed=1, measure_ratio=True) as noise:
    ...     weight.grad = torch.full((4,), 5.0)
    ...     optimizer.step()
    >>> round(noise.ratio, 3), noise.state_dict(), noise.is_attached(optimizer)
    (0.02, {'t': 1, 'seed': 1}, False)
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        process: NoiseProcess,
        seed: int,
        allow: Collection[str],
        measure_ratio: bool,
    ) -> None:
        self.seed = seed
        self._process = process
        self._adder = NoiseAdder(process, allow, measure_ratio)
        self._t = 0
        self._is_paused = self._has_warned = False
        # for each running step, outermost first: whether it is an update, not part of another
        self._updates: list[bool] = []
        # the gradients of the running update after their noise; None before it
        self._noisy_gradients: Gradients | None = None
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        self.reattach(optimizer)

    @property
    def t(self) -> int:
        """Updates done so far; the next update gets the noise of t."""
        # the groups are up to date: a wrapper such as SAM replaces them in its load_state_dict and
        # does not call the optimizer's
        return int(self._optimizer.param_groups[0].get(KEY, self._t)) if self._hooks else self._t

    @property
    def std(self) -> float:
        """The standard deviation of the next update's noise, in gradient units, before a
        preconditioner.
        """
        return self._process.std(self.t)

    @property
    def ratio(self) -> float | None:
        """std / ||g|| of the last update, dimensionless; None if it is not measured.

        ||g|| is the global L2 norm of the gradients before their noise; if it is 0, the ratio is
        infinite. The ratio is comparable between losses of different scale: a loss summed over a
        batch has larger gradients than its mean.
        """
        return self._adder.ratio

    def reattach(self, optimizer: torch.optim.Optimizer) -> None:
        """Move the noise to another optimizer, such as a copy, or one restored from a file.

        If the optimizer's groups contain a t, that t replaces the present one.

        Raises:
            TypeError: If the optimizer cannot have noise.
            ValueError: If it already has noise, or two of its parameters share a name.
        """
        optimizer = innermost(optimizer)
        check(optimizer)
        if any(
            isinstance(getattr(hook, "__self__", None), GradientNoise)
            for hook in step_pre_hooks(optimizer).values()
        ):
            raise ValueError("the optimizer already has noise: call remove() on its handle first.")
        self.remove()
        _exclude_hooks_from_compilation()
        self._optimizer = optimizer
        self._adder.forget()
        self._hooks = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
            optimizer.register_load_state_dict_post_hook(self._copy_t_to_groups),
        ]
        self._copy_t_to_groups(optimizer)

    def is_attached(self, optimizer: torch.optim.Optimizer) -> bool:
        """Return whether this optimizer's updates get the noise."""
        return bool(self._hooks) and self._hooks[0].id in step_pre_hooks(innermost(optimizer))

    def remove(self) -> None:
        """End the noise; the optimizer continues without it."""
        if self._hooks:
            self._t = self.t
            for group in self._optimizer.param_groups:
                group.pop(KEY, None)
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Suspend the noise: the optimizer's steps get no noise and are not counted."""
        before, self._is_paused = self._is_paused, True
        try:
            yield
        finally:
            self._is_paused = before

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint: t, the seed, and a preconditioner's state.

        The process is part of the configuration, not of the state.
        """
        state: dict[str, Any] = {"t": self.t, "seed": self.seed}
        return state | ({"states": dict(self._adder.states)} if self._adder.states else {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore t, the seed and a preconditioner's state from the result of `state_dict`."""
        self.seed = int(state["seed"])
        states = state.get("states", {})
        self._adder.states = {name: tensor.clone() for name, tensor in states.items()}
        self._set_t(int(state["t"]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()

    def _set_t(self, t: int) -> None:
        self._t = t
        if self._hooks:
            for group in self._optimizer.param_groups:
                group[KEY] = t

    def _copy_t_to_groups(self, _optimizer: torch.optim.Optimizer) -> None:
        self._set_t(self.t)

    def _before(
        self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any] | None:
        is_update = not self._passes(optimizer)
        if is_update:
            self._updates, self._noisy_gradients = [], None  # drops steps that raised an error
        self._updates.append(is_update)
        if not is_update:
            return None
        if kwargs.get("grad_scaler") is not None:
            raise TypeError(
                f"{type(optimizer).__name__} takes a GradScaler and unscales its gradients after "
                "the noise: use an optimizer whose gradients GradScaler unscales."
            )
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if not callable(closure):
            self._add()
            return None
        noisy = self._after_closure(closure)
        return (
            (args, kwargs | {"closure": noisy})
            if "closure" in kwargs
            else ((args[0], noisy, *args[2:]), kwargs)
        )

    def _after(
        self, optimizer: torch.optim.Optimizer, _args: tuple[Any, ...], _kwargs: dict[str, Any]
    ) -> None:
        # empty if the noise was attached during the step
        if self._updates and self._updates.pop():
            if self._noisy_gradients is None:
                self._warn_once(
                    "The optimizer did not call the closure passed to its step, so the update was "
                    "made without noise.",
                    stacklevel=5,
                )
            self._noisy_gradients = None
            self._set_t(self.t + 1)

    def _passes(self, optimizer: torch.optim.Optimizer) -> bool:
        """Return whether the step gets no noise: paused, nested, phantom or skipped by GradScaler.

        A nested step is part of an update that has its noise already.
        """
        is_nested = bool(self._updates) and is_nested_step(optimizer)
        return (
            self._is_paused
            or is_nested
            or is_phantom_step(optimizer)
            or skips_its_update(optimizer)
        )

    def _after_closure(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        # the closure may be compiled together with the step
        add = torch.compiler.disable(self._add)  # type: ignore[no-untyped-call]

        def noisy() -> Any:
            with torch.enable_grad():
                loss = closure()
            add()
            return loss

        return noisy

    def _add(self) -> None:
        gradients = self._adder.add(self._optimizer, self.seed, self.t)
        self._noisy_gradients = gradients
        if not any(gradient is not None for gradient in gradients):
            self._warn_once(
                "No parameter of the optimizer has a gradient, so none got noise: call backward() "
                "before step(). DeepSpeed's ZeRO stores gradients where step hooks cannot see "
                "them: use DDP or FSDP2.",
                stacklevel=6,  # the line that called step()
            )

    def _warn_once(self, message: str, stacklevel: int) -> None:
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(message, stacklevel=stacklevel)


@functools.cache
def _exclude_hooks_from_compilation() -> None:
    """Exclude the hooks from torch.compile.

    At the first optimizer rather than at import, because this loads torch's compiler, which an
    optimizer loads anyway.
    """
    for name in ("_before", "_after"):
        method = getattr(GradientNoise, name)
        setattr(GradientNoise, name, torch.compiler.disable(method))  # type: ignore[no-untyped-call]
