"""Adding a process's noise to the gradients of an optimizer's parameters."""

import math
import operator
import weakref
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from gradnoise._hook.factors import Patterns, factors, group_factors
from gradnoise._hook.gradients import global_norm, in_place, version
from gradnoise._hook.optimizers import Names, names
from gradnoise._hook.torch_internals import grad_scale
from gradnoise._kernels.threads import NO_SQUARES
from gradnoise._noise import Noise
from gradnoise._noise.memory import overlapping, overlaps_itself
from gradnoise._parts import Part
from gradnoise._processes import NoiseProcess
from gradnoise._processes.preconditioned import RootMeanSquare

FROZEN_EVERY = 100  # updates

Gradients = Sequence[Any]
"""Tensors, and None for a parameter without a gradient."""


class NoiseAdder:
    """Adds the noise of a process to gradients, with what it caches from update to update.

    Args:
        process: The noise process.
        allow: The legal kinds of gradients among `sparse` and `complex`.
        measure_ratio: Whether to compute `ratio` at each update.
        patterns: Factors of the noise by patterns of names.

    Attributes:
        last_std: The standard deviation of the last update's noise; None before it.
        frozen: The name of a parameter that requires no gradient and whose gradient was 0 before
            the noise; None unless one was found. It is searched when the gradients change their
            kind, and at every 100th update.
        names: The parameters' names, in the order of the optimizer.
        states: The preconditioner's state by parameter name.
    """

    def __init__(
        self,
        process: NoiseProcess,
        allow: Collection[str],
        measure_ratio: bool,
        patterns: Patterns,
    ) -> None:
        self.process = process
        self.last_std: float | None = None
        self.states: dict[str, torch.Tensor] = {}
        # a sparse gradient holds other rows at each update, so it has no state
        self._allow = set(allow) - ({"sparse"} if process.preconditioner else set())
        self._needs_norm = measure_ratio or process.uses_norm
        self._patterns = patterns
        self._norm: torch.Tensor | float | None = None
        self.forget()

    def forget(self) -> None:
        """Drop all caches, so that the next update may be that of another optimizer or seed."""
        self.names: tuple[str, ...] = ()
        self.frozen: str | None = None
        self._parameters: Sequence[torch.Tensor] = ()
        self._noise: Noise | None = None
        self._noise_key: tuple[object, ...] = ()
        self._group_factors: tuple[float, ...] = ()
        self._factors: np.ndarray | None = None
        # whether all parameters have gradients, which are whole tensors
        self._is_plain = False
        # of the preconditioner, for the last gradients; empty without one
        self._states_in_order: Sequence[torch.Tensor] = ()
        self.end_update()

    def __getstate__(self) -> dict[str, Any]:
        kept = ("process", "last_std", "states", "_allow", "_needs_norm", "_patterns", "_norm")
        return {name: getattr(self, name) for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.forget()

    def end_update(self) -> None:
        """Forget which gradients have the noise of the running update."""
        self._noisy: Sequence[tuple[weakref.ref[torch.Tensor], object] | None] = ()

    @property
    def ratio(self) -> float | None:
        """std / ||g|| of the last update, ||g|| the global norm before the noise.

        Infinite if ||g|| is 0, None until it is measured.
        """
        if self.last_std is None or self._norm is None:
            return None
        norm = float(self._norm)
        return self.last_std / norm if norm else math.inf

    def add(
        self, optimizer: torch.optim.Optimizer, given: Names | None, seed: int, t: int
    ) -> Gradients:
        """Add the noise of update t to the gradients; return the gradients of all parameters.

        A gradient that still holds the noise that this update added to it, because the step raised
        an error or evaluates its closure again, gets none.

        Raises:
            TypeError: If the kind of a gradient is not allowed.
        """
        gradients = self._gradients(optimizer, given)
        fresh = (
            [
                None if noisy and noisy[0]() is g and noisy[1] == version(g) else g
                for noisy, g in zip(self._noisy, gradients, strict=True)
            ]
            if self._noisy
            else gradients
        )
        if not any(gradient is not None for gradient in fresh):
            return gradients
        scale = grad_scale(optimizer)
        addresses = (
            self._noise.addresses(fresh)
            if self._is_plain and self._noise is not None and self._noise_key[0] == seed
            else None
        )
        if addresses is None or t % FROZEN_EVERY == 0:
            self.frozen = self._frozen(fresh)
        if addresses is None or self._noise is None:
            self._add_to_any(fresh, scale, seed, t)
            gradients = [parameter.grad for parameter in self._parameters]
            versions = [g if g is None else version(g) for g in gradients]
        else:
            self._add_at(self._noise, addresses, gradients, scale, t)
            versions = [g._version for g in gradients]
        self._noisy = [
            g if g is None else (weakref.ref(g), version)
            for g, version in zip(gradients, versions, strict=True)
        ]
        return gradients

    def _gradients(self, optimizer: torch.optim.Optimizer, given: Names | None) -> Gradients:
        """Return the gradients; renew what is cached of parameters and groups if they changed."""
        groups = optimizer.param_groups
        parameters = [parameter for group in groups for parameter in group["params"]]
        is_same = len(parameters) == len(self._parameters) and all(
            map(operator.is_, parameters, self._parameters)
        )
        if not is_same:
            self._parameters, self.names = parameters, names(optimizer, given)
            self._is_plain = False
            self.end_update()
        of_groups = group_factors(groups)
        if not is_same or of_groups != self._group_factors:
            self._group_factors = of_groups
            sizes = [len(group["params"]) for group in groups]
            self._factors = factors(self._patterns, of_groups, sizes, self.names)
        return [parameter.grad for parameter in parameters]

    def _frozen(self, gradients: Gradients) -> str | None:
        for name, parameter, gradient in zip(self.names, self._parameters, gradients, strict=True):
            if not parameter.requires_grad and gradient is not None and not gradient.any():
                return name
        return None

    def _add_at(
        self, noise: Noise, addresses: Any, gradients: Gradients, scale: float, t: int
    ) -> None:
        """Add the noise in a single pass, which measures the norm too unless the noise needs it."""
        norm = noise.norm_at(addresses) if self.process.uses_norm else None
        terms = self._terms(t, norm, scale)
        is_measured = self._needs_norm and norm is None
        squares = noise.new_squares() if is_measured else NO_SQUARES
        if self._states_in_order:
            self._add_preconditioned(gradients, terms, scale, addresses=addresses, squares=squares)
        else:
            for i, (drawn, std) in enumerate(terms):
                noise.add_at_(
                    addresses, gradients, drawn, self._stds(std), NO_SQUARES if i else squares
                )
        if is_measured:
            norm = math.sqrt(squares.sum()) if terms else noise.norm_at(addresses)
            self._norm = norm / scale

    def _terms(
        self, t: int, norm: torch.Tensor | float | None, scale: float
    ) -> list[tuple[int, float]]:
        """Return the terms of update t in units of the scaled gradients, whose norm is given."""
        if norm is not None:
            self._norm = norm = norm / scale
        known = None if norm is None or not self.process.uses_norm else float(norm)
        terms = self.process.checked_terms(t, known)
        self.last_std = math.hypot(*(std for _, std in terms))
        return [(drawn, std * scale) for drawn, std in terms]

    def _stds(self, std: float, chosen: Sequence[int] | None = None) -> Any:
        """Return the standard deviation of each parameter's noise, or one for all."""
        if self._factors is None:
            return std
        return std * (self._factors if chosen is None else self._factors[chosen])

    @torch.no_grad()
    def _add_to_any(self, gradients: Gradients, scale: float, seed: int, t: int) -> None:
        chosen = [i for i, gradient in enumerate(gradients) if gradient is not None]
        tensors, parts = self._tensors_in_place(chosen)
        noise_key = (seed, tuple(tensors), [tensor.numel() for tensor in tensors.values()], parts)
        if self._noise is None or self._noise_key != noise_key:
            shapes = {name: tensor.shape for name, tensor in tensors.items()}
            self._noise, self._noise_key = Noise(seed, shapes, parts=parts), noise_key
        is_known = isinstance(self.process.preconditioner, RootMeanSquare | None)
        self._is_plain = is_known and not parts and len(tensors) == len(self._parameters)
        norm = global_norm(self._parameters[i].grad for i in chosen) if self._needs_norm else None
        terms = self._terms(t, norm, scale)
        gradients = list(tensors.values())
        preconditioner = self.process.preconditioner
        if isinstance(preconditioner, RootMeanSquare):
            self._states_in_order = self._states(tensors)
            self._add_preconditioned(gradients, terms, scale, chosen)
            return
        scales = self._scales(tensors, scale)
        for drawn, std in terms:
            self._noise.add_(gradients, drawn, self._stds(std, chosen), scales)

    def _add_preconditioned(
        self,
        gradients: Sequence[torch.Tensor],
        terms: Sequence[tuple[int, float]],
        scale: float,
        chosen: Sequence[int] | None = None,
        addresses: Any = None,
        squares: Any = NO_SQUARES,
    ) -> None:
        assert self._noise is not None
        assert isinstance(self.process.preconditioner, RootMeanSquare)
        for i, (drawn, std) in enumerate(terms):
            self._noise.add_preconditioned_(
                gradients,
                drawn,
                self._stds(std, chosen),
                self.process.preconditioner,
                self._states_in_order,
                scale,
                updates=i == 0,
                addresses=addresses,
                squares=NO_SQUARES if i else squares,
            )

    def _tensors_in_place(
        self, chosen: Sequence[int]
    ) -> tuple[dict[str, torch.Tensor], dict[str, Part]]:
        """Return, by name, the tensors to change in place and the parts of parameters they hold.

        No two elements of the tensors share memory.
        """
        parameters = [self._parameters[i] for i in chosen]
        names_of = [self.names[i] for i in chosen]

        def at(i: int, is_copied: bool = False) -> tuple[torch.Tensor, Part | None]:
            parameter = parameters[i]
            if is_copied and parameter.grad is not None:
                parameter.grad = parameter.grad.clone()
            tensor, part = in_place(names_of[i], parameter, self._allow)
            return at(i, is_copied=True) if overlaps_itself(tensor) else (tensor, part)

        found = [at(i) for i in range(len(parameters))]
        # as do the gradients of parameters that are summed or concatenated
        for i in overlapping([tensor for tensor, _ in found]):
            found[i] = at(i, is_copied=True)
        tensors = {name: tensor for name, (tensor, _) in zip(names_of, found, strict=True)}
        parts = {
            name: part for name, (_, part) in zip(names_of, found, strict=True) if part is not None
        }
        return tensors, parts

    def _scales(
        self, tensors: Mapping[str, torch.Tensor], grad_scale: float
    ) -> list[torch.Tensor] | None:
        preconditioner = self.process.preconditioner
        if preconditioner is None:
            return None
        states = self._states(tensors)
        for state, gradient in zip(states, tensors.values(), strict=True):
            preconditioner.update_(state, gradient / grad_scale)
        return [preconditioner.scale(state) for state in states]

    def _states(self, tensors: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        for name, gradient in tensors.items():
            state = self.states.get(name)
            if state is None:
                state = torch.zeros(gradient.shape, dtype=torch.float32, device=gradient.device)
            elif state.shape != gradient.shape:
                raise ValueError(
                    f"the preconditioner's state of {name} has shape {tuple(state.shape)}, but its "
                    f"gradient has {tuple(gradient.shape)}: load the state of this model."
                )
            self.states[name] = state.to(gradient.device, torch.float32).contiguous()
        return [self.states[name] for name in tensors]
