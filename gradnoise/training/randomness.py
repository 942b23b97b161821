"""The global generators of torch, its devices, numpy and `random`, with a separate state for each
trial.

No trial draws the numbers of another.
"""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from gradnoise._keys import key


class Randomness:
    """The states of the global generators for one trial; they start from its seed.

    Args:
        seed: The trial's seed; at least 0.
    """

    def __init__(self, seed: int) -> None:
        before = global_states()
        self._seed = start = int(key(seed, "global", "")[0])
        random.seed(start)
        np.random.seed(start % 2**32)
        torch.manual_seed(start)
        self._states = global_states()
        restore(before)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Give the global generators the trial's states within the context.

        Their previous states are restored at its end.
        """
        before = global_states()
        self.start()
        try:
            yield
        finally:
            self.capture()
            restore(before)

    def start(self) -> None:
        """Give the global generators the trial's states.

        The generators of GPUs that torch had not used yet start from the trial's seed.
        """
        restore(self._states)
        if not self._states[3] and torch.cuda.is_available():
            torch.cuda.manual_seed_all(self._seed)  # at the latest when torch first uses a GPU

    def capture(self) -> None:
        """Take the states of the global generators as the trial's."""
        self._states = global_states()

    def state(self) -> dict[str, Any]:
        """Return the states as tensors and plain values, for a checkpoint."""
        python, (name, words, *others), torch_state, cuda = self._states
        numpy = [name, torch.from_numpy(words.astype(np.int64)), *others]
        return {"python": python, "numpy": numpy, "torch": torch_state, "cuda": cuda}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        name, words, *others = state["numpy"]
        version, numbers, gauss = state["python"]
        self._states = (
            (version, tuple(numbers), gauss),
            (name, words.numpy().astype(np.uint32), *others),
            state["torch"],
            state["cuda"],
        )


def global_states() -> tuple[Any, ...]:
    """Return the states of the global generators of `random`, numpy, torch and its GPUs."""
    has_cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # of torch
    cuda = torch.cuda.get_rng_state_all() if has_cuda else []
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda


def are_other_states(states: tuple[Any, ...], others: tuple[Any, ...]) -> bool:
    """Return whether a generator on the host drew a number between two states."""
    (_, words, *numpy), (_, other_words, *other_numpy) = states[1], others[1]
    return (
        states[0] != others[0]
        or numpy != other_numpy
        or not np.array_equal(words, other_words)
        or not torch.equal(states[2], others[2])
    )


def restore(states: tuple[Any, ...]) -> None:
    """Restore what `global_states` returned."""
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    if states[3]:
        torch.cuda.set_rng_state_all(states[3])
