"""The handle of the noise on an optimizer: its count t, its state, and the step hooks."""

import functools
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import torch

from gradnoise._hook.adder import NoiseAdder
from gradnoise._hook.factors import Patterns, check_matches, group_factors
from gradnoise._hook.optimizers import Names, check, innermost, named, parameters_by_name
from gradnoise._hook.optimizers import names as names_of
from gradnoise._hook.torch_internals import (
    is_nested_step,
    is_phantom_step,
    skips_its_update,
    step_pre_hooks,
)
from gradnoise._hook.watch import Watch
from gradnoise._processes import NoiseProcess
from gradnoise._processes.numbers import whole_number

KEY = "gradnoise_t"


class GradientNoise:
    """The noise on an optimizer, as returned by `attach`.

    A copy by pickle or deepcopy has the process, the options and the state, and is attached to no
    optimizer until `reattach`.

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
        *,
        allow: Collection[str] = (),
        measure_ratio: bool = False,
        patterns: Patterns | None = None,
        names: Any = None,
        is_watched: bool = False,
    ) -> None:
        self._seed = whole_number("seed", seed)
        self._patterns = patterns = patterns or {}
        self._adder = NoiseAdder(process, allow, measure_ratio, patterns)
        self._is_watched = is_watched
        self._t = 0
        self._reset()
        self.reattach(optimizer, names)

    def _reset(self) -> None:
        """Set what a copy does not have: the optimizer with its hooks, names and warnings."""
        self._optimizer: torch.optim.Optimizer | None = None
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        self._names: Names | None = None
        self._watch: Watch | None = None
        self._is_paused = False
        self._warned: set[str] = set()
        # for each running step, outermost first: whether it is an update, not part of another
        self._updates: list[bool] = []
        # whether the running update has its noise
        self._has_noise = False

    def __repr__(self) -> str:
        of = type(self._optimizer).__name__ if self._hooks else None
        return f"GradientNoise({self._adder.process}, seed={self.seed}, t={self.t}, optimizer={of})"

    @property
    def seed(self) -> int:
        """Seeds the noise; at least 0. An assignment takes effect at the next update."""
        return self._seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._seed = whole_number("seed", seed)

    @property
    def t(self) -> int:
        """The number of updates so far; the next update gets the noise of t."""
        # the groups are up to date: a wrapper such as SAM replaces them in its load_state_dict and
        # does not call the optimizer's
        if not self._hooks or self._optimizer is None:
            return self._t
        return int(self._optimizer.param_groups[0].get(KEY, self._t))

    @property
    def std(self) -> float | None:
        """The standard deviation of the next update's noise, before a preconditioner and factors.

        It is in gradient units. None if it depends on the norm of the next update's gradient.
        """
        process = self._adder.process
        return None if process.uses_norm else process.std(self.t)

    @property
    def last_std(self) -> float | None:
        """The standard deviation of the last update's noise, as `std`; None before it.

        It belongs to the same update as `ratio`.
        """
        return self._adder.last_std

    @property
    def ratio(self) -> float | None:
        """std / ||g|| of the last update, dimensionless; None if it is not measured.

        ||g|| is the global L2 norm of the gradients before their noise; if it is 0, the ratio is
        infinite. The ratio is comparable between losses of different scale: a loss summed over a
        batch has larger gradients than its mean.
        """
        return self._adder.ratio

    def reattach(self, optimizer: torch.optim.Optimizer, names: Any = None) -> None:
        """Move the noise to another optimizer, such as a copy, or one restored from a file.

        If the optimizer's groups contain a t, that t replaces the present one.

        Args:
            optimizer: As in `attach`.
            names: As in `attach`; they are not taken over from the other optimizer.

        Raises:
            TypeError: If the optimizer cannot have noise.
            ValueError: If it already has noise, a parameter has no name, or two share a name.
        """
        optimizer = innermost(optimizer)
        check(optimizer)
        given = None if names is None else named(names)
        check_matches(self._patterns, names_of(optimizer, given))
        group_factors(optimizer.param_groups)
        if any(
            isinstance(getattr(hook, "__self__", None), GradientNoise)
            for hook in step_pre_hooks(optimizer).values()
        ):
            raise ValueError("the optimizer already has noise: call remove() on its handle first.")
        self.remove()
        _exclude_hooks_from_compilation()
        self._optimizer, self._names = optimizer, given
        self._watch = Watch(optimizer) if self._is_watched else None
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
        if self._hooks and self._optimizer is not None:
            self._t = self.t
            for group in self._optimizer.param_groups:
                group.pop(KEY, None)
            self._adder.forget()
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
        """Restore t, the seed and a preconditioner's state from the result of `state_dict`.

        Raises:
            TypeError: If t or the seed is no integer, or a state is no tensor.
            ValueError: If t or the seed is missing or negative.
        """
        missing = {"t", "seed"} - set(state)
        if missing:
            raise ValueError(
                f"state must be a result of state_dict(), but lacks {', '.join(sorted(missing))}."
            )
        t, seed = whole_number("t", state["t"]), whole_number("seed", state["seed"])
        states = state.get("states", {})
        for name, tensor in states.items():
            if not isinstance(tensor, torch.Tensor):
                raise TypeError(f"states[{name!r}] must be a tensor, but got {tensor!r}.")
        self._seed = seed
        self._adder.states = {name: tensor.clone() for name, tensor in states.items()}
        self._adder.forget()
        self._set_t(t)

    def __getstate__(self) -> dict[str, Any]:
        kept = ("_seed", "_patterns", "_adder", "_is_watched")
        return {name: getattr(self, name) for name in kept} | {"_t": self.t}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

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
        if self._hooks and self._optimizer is not None:
            for group in self._optimizer.param_groups:
                group[KEY] = t

    def _copy_t_to_groups(self, _optimizer: torch.optim.Optimizer) -> None:
        self._set_t(self.t)

    def _before(
        self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any] | None:
        is_update = not self._passes(optimizer)
        if is_update:
            self._updates, self._has_noise = [], False  # drops steps that raised an error
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
            if not self._has_noise:
                self._warn_once(
                    "The optimizer did not call the closure passed to its step, so the update was "
                    "made without noise.",
                    5,
                )
            self._adder.end_update()
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
        optimizer = self._optimizer
        assert optimizer is not None  # a step called a hook
        stacklevel = 6  # the line that called step()
        if self._watch is not None and self._watch.is_due():
            of = {"seed": self.seed, "t": self.t, "std": self.std}
            named_parameters = functools.partial(parameters_by_name, optimizer, self._names)
            for message in self._watch.warnings(named_parameters, of):
                self._warn_once(message, stacklevel)
        gradients = self._adder.add(optimizer, self._names, self.seed, self.t)
        self._has_noise = True
        if self._adder.frozen is not None:
            self._warn_once(
                f"The parameter {self._adder.frozen} requires no gradient, but has a gradient of "
                "0, which gets noise: set its .grad to None if it should not move.",
                stacklevel,
            )
        if not any(gradient is not None for gradient in gradients):
            self._warn_once(
                "No parameter of the optimizer has a gradient, so none got noise: call backward() "
                "before step(). DeepSpeed's ZeRO stores gradients where step hooks cannot see "
                "them: use DDP or FSDP2.",
                stacklevel,
            )

    def _warn_once(self, message: str, stacklevel: int) -> None:
        if message not in self._warned:
            self._warned.add(message)
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
