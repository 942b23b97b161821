"""Noise on the weights of a model for the forward and backward pass of an update."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from gradnoise._noise import Noise
from gradnoise._processes import NoiseProcess

PURPOSE = "weight_noise"  # a stream of its own: independent of the gradient noise


class NoisyWeights:
    """The parameters of one model under weight noise. Forward and backward of an update both go
    inside `at`, `optimizer.step()` after it.

    Args:
        named_parameters: The result of `model.named_parameters()`; the noise depends on the names.
        process: The noise, in units of weights; without a preconditioner.
        seed: Seeds the noise; at least 0.

    >>> process = NoiseProcess.of(lambda t: 0.1)
    >>> model = torch.nn.Linear(3, 1)
    >>> noisy = NoisyWeights(model.named_parameters(), process, seed=1)
    >>> clean = model.weight.detach().clone()
    >>> with noisy.at(t=0):
    ...     bool((model.weight == clean).any())
    ...     model(torch.ones(2, 3)).sum().backward()
    False
    >>> bool((model.weight == clean).all())
    True
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, torch.Tensor]],
        process: NoiseProcess,
        *,
        seed: int,
    ) -> None:
        by_name = dict(named_parameters)
        self._parameters = list(by_name.values())
        self._clean = [
            torch.empty_like(parameter, requires_grad=False) for parameter in self._parameters
        ]
        self._noise = Noise(
            seed, {name: parameter.shape for name, parameter in by_name.items()}, PURPOSE
        )
        self._terms = process.terms

    @contextmanager
    def at(self, t: int) -> Iterator[None]:
        """Add the noise of update t, counted from 0, to the weights; at the end of the context
        restore them bit by bit, also if it raises.
        """
        with torch.no_grad():
            for clean, parameter in zip(self._clean, self._parameters, strict=True):
                clean.copy_(parameter)
        try:
            with torch.no_grad():
                for drawn, std in self._terms(t):
                    self._noise.add_(self._parameters, drawn, std)
            yield
        finally:
            with torch.no_grad():
                for parameter, clean in zip(self._parameters, self._clean, strict=True):
                    parameter.copy_(clean)
