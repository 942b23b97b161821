"""The noise of a stack's members at each update of an epoch, as tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from gradnoise._noise import Noise, StackedNoise
from gradnoise._processes.process import Terms, tabulate

Update = int | torch.Tensor
"""An update of an epoch, counted from 0: a number, or in a CUDA graph the tensor [1] that holds it
on the device.
"""

Member = TypeVar("Member")


@dataclass(frozen=True, eq=False)
class NoiseTerms:
    """The terms of each member's noise at each update of an epoch.

    Args:
        noises: The draws of each member.
        ts: The draw's number, [terms, updates, members].
        stds: Its standard deviation, [terms, updates, members]; 0 where a member has fewer terms.
        rules: How its mean squares change the noise, if it is preconditioned, as the GPU's kernel
            takes them, [terms, 4, members]; 0 where a member has no such noise.
    """

    noises: Sequence[Noise]
    ts: npt.NDArray[np.int64]
    stds: npt.NDArray[np.float64]
    rules: npt.NDArray[np.float64] | None = None

    @classmethod
    def of(
        cls,
        n_steps: int,
        members: Sequence[Member],
        first_t: Callable[[Member], int],
        noise: Callable[[Member], Noise],
        terms: Callable[[Member], Terms | None],
    ) -> "NoiseTerms | None":
        """Return the terms of an epoch, or None if no member has noise.

        Args:
            n_steps: Updates in the epoch.
            members: The members of the stack.
            first_t: From a member to the number of its first update in the epoch.
            noise: From a member to its draws.
            terms: From a member to its noise process; None if it has no noise.
        """
        tables = {
            k: tabulate(process, range(first_t(member), first_t(member) + n_steps))
            for k, member in enumerate(members)
            if (process := terms(member)) is not None
        }
        n_terms = max((len(ts) for ts, _ in tables.values()), default=0)
        if n_terms == 0:
            return None
        shape = (n_terms, len(members), n_steps)
        ts, stds = np.zeros(shape, dtype=np.int64), np.zeros(shape)
        for k, (of_draws, of_member) in tables.items():
            ts[: len(of_draws), k], stds[: len(of_draws), k] = of_draws, of_member
        return cls(
            [noise(member) for member in members],
            np.ascontiguousarray(ts.transpose(0, 2, 1)),
            np.ascontiguousarray(stds.transpose(0, 2, 1)),
        )


class NoiseTable:
    """The noise of a stack's members at each update of an epoch, where the updates find it.

    Args:
        rows: What the noise is added to, [members, numbers].
        terms: The noise.
        states: The mean squares of each row, float32, if the noise is preconditioned; only on a
            GPU.

    Attributes:
        is_capturable: Whether a CUDA graph can hold `add_`.
    """

    def __init__(
        self, rows: torch.Tensor, terms: NoiseTerms, states: torch.Tensor | None = None
    ) -> None:
        self._noise = StackedNoise(terms.noises, rows, states)
        self._terms = terms
        self._on_device = [
            (_to(ts, rows), _to(stds, rows)) for ts, stds in zip(terms.ts, terms.stds, strict=True)
        ]
        self._rules = None if terms.rules is None else _to(terms.rules, rows)
        self.is_capturable = self._noise.on_gpu is not None

    def load(self, terms: NoiseTerms) -> None:
        """Replace the noise by another with as many terms; device tensors keep their addresses."""
        self._noise.reassign(terms.noises)
        self._terms = terms
        tables = zip(self._on_device, terms.ts, terms.stds, strict=True)
        for (ts, stds), new_ts, new_stds in tables:
            ts.copy_(torch.from_numpy(new_ts))
            stds.copy_(torch.from_numpy(new_stds))
        if self._rules is not None and terms.rules is not None:
            self._rules.copy_(torch.from_numpy(terms.rules))

    def add_(self, i: Update) -> None:
        """Add the noise of update i; preconditioned noise after the update of the mean squares."""
        if isinstance(i, int) and self._rules is None:
            for ts, stds in zip(self._terms.ts, self._terms.stds, strict=True):
                self._noise.add_(ts[i], stds[i])
            return
        for j, (ts, stds) in enumerate(self._on_device):
            rules = None if self._rules is None else self._rules[j]
            self._noise.on_gpu.add_(pick(ts, i), pick(stds, i), rules)


def pick(table: torch.Tensor, i: Update) -> torch.Tensor:
    """Return row i of a table; a number on the device is not read back."""
    return table[i] if isinstance(i, int) else table.index_select(0, i)[0]


def _to(table: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(table).to(like.device, copy=True)
