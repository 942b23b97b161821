"""Adding a process's noise to the gradients of an optimizer's parameters."""

import math
import operator
from collections.abc import Collection, Sequence

import torch

from gradnoise._hook.gradients import global_norm, in_place
from gradnoise._hook.optimizers import names
from gradnoise._hook.torch_internals import grad_scale
from gradnoise._noise import Noise
from gradnoise._parts import Part
from gradnoise._processes import NoiseProcess

Gradients = Sequence[torch.Tensor | None]


class NoiseAdder:
    """Adds the noise of a process to gradients, with what it caches from update to update.

    Args:
        process: The noise process.
        allow: The legal kinds of gradients among `sparse` and `complex`.
        measure_ratio: Whether to compute `ratio` at each update.

    Attributes:
        ratio: std / ||g|| of the last update, ||g|| the global norm before the noise; infinite if
            ||g|| is 0, None until it is measured.
        states: The preconditioner's state by parameter name.
    """

    def __init__(self, process: NoiseProcess, allow: Collection[str], measure_ratio: bool) -> None:
        self.process = process
        self.ratio: float | None = None
        self.states: dict[str, torch.Tensor] = {}
        # a sparse gradient holds other rows at each update, so it has no state
        self._allow = set(allow) - ({"sparse"} if process.preconditioner else set())
        self._measure_ratio = measure_ratio
        self.forget()

    def forget(self) -> None:
        """Drop all caches, so that the next update may be that of another optimizer or seed."""
        self._parameters: Sequence[torch.Tensor] = ()
        self._names: tuple[str, ...] = ()
        self._noise: Noise | None = None
        self._noise_key: tuple[object, ...] = ()
        # whether all parameters have noise, and nothing but the noise is to be added
        self._is_plain = False

    def add(self, optimizer: torch.optim.Optimizer, seed: int, t: int) -> Gradients:
        """Add the noise of update t to the gradients; return the gradients of all parameters.

        While the caller holds them, torch need not create their Python objects again (a microsecond
        each).

        Raises:
            TypeError: If the kind of a gradient is not allowed.
        """
        parameters = [
            parameter for group in optimizer.param_groups for parameter in group["params"]
        ]
        if len(parameters) != len(self._parameters) or not all(
            map(operator.is_, parameters, self._parameters)
        ):
            self._parameters, self._names = parameters, names(optimizer)
            self._is_plain = False
        gradients = [parameter.grad for parameter in parameters]
        scale = grad_scale(optimizer)
        terms = [(t_of_draws, float(std) * scale) for t_of_draws, std in self.process.terms(t)]
        is_done = (
            self._is_plain
            and self._noise is not None
            and self._noise_key[0] == seed
            and all(self._noise.add_plain_(gradients, *term) for term in terms)
        )
        if not is_done and any(gradient is not None for gradient in gradients):
            self._add_to_any(parameters, terms, scale, seed, t)
        return gradients

    @torch.no_grad()
    def _add_to_any(
        self,
        parameters: Sequence[torch.Tensor],
        terms: Sequence[tuple[int, float]],
        scale: float,
        seed: int,
        t: int,
    ) -> None:
        tensors, parts = self._tensors_in_place(parameters)
        names_of_tensors = tuple(tensors)
        if self._measure_ratio:
            norm = global_norm(parameters)
            self.ratio = self.process.std(t) * scale / norm if norm else math.inf
        sizes = [tensor.numel() for tensor in tensors.values()]
        noise_key = (seed, names_of_tensors, sizes, parts)
        if self._noise is None or self._noise_key != noise_key:
            shapes = {name: tensor.shape for name, tensor in tensors.items()}
            self._noise, self._noise_key = Noise(seed, shapes, parts=parts), noise_key
        is_bare = not (parts or self._measure_ratio or self.process.preconditioner)
        self._is_plain = is_bare and len(tensors) == len(parameters)
        scales = self._scales(tensors, scale)
        for t_of_draws, std in terms:
            self._noise.add_(list(tensors.values()), t_of_draws, std, scales)

    def _tensors_in_place(
        self, parameters: Sequence[torch.Tensor]
    ) -> tuple[dict[str, torch.Tensor], dict[str, Part]]:
        """Return, by name, the tensors to change in place and the parts of parameters they hold."""
        tensors, parts = {}, {}
        seen: set[int] = set()
        for name, parameter in zip(self._names, parameters, strict=True):
            if parameter.grad is None:
                continue
            tensor, part = in_place(name, parameter, self._allow)
            # the gradients of parameters that are summed often share memory
            if tensor.data_ptr() in seen:
                parameter.grad = parameter.grad.clone()
                tensor, part = in_place(name, parameter, self._allow)
            seen.add(tensor.data_ptr())
            tensors[name] = tensor
            if part is not None:
                parts[name] = part
        return tensors, parts

    def _scales(
        self, tensors: dict[str, torch.Tensor], grad_scale: float
    ) -> list[torch.Tensor] | None:
        preconditioner = self.process.preconditioner
        if preconditioner is None:
            return None
        scales = []
        for name, gradient in tensors.items():
            state = self.states.get(name)
            if state is None:
                state = torch.zeros(gradient.shape, dtype=torch.float32, device=gradient.device)
            self.states[name] = state = state.to(gradient.device)
            preconditioner.update_(state, gradient / grad_scale)
            scales.append(preconditioner.scale(state))
        return scales
