"""The noise of many models on the rows of a single tensor."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gradnoise._kernels import backends
from gradnoise._kernels.runs import Runs
from gradnoise._kernels.threads import add_on_threads
from gradnoise._noise.noise import Noise


class StackedNoise:
    """The noise of many members on a tensor [members, numbers].

    A row holds a member's parameters one after the other. Each row gets the numbers that the
    member's `Noise` gives. float32 rows in CPU memory get them in a single pass, rows on a GPU by a
    single kernel launch.

    Args:
        members: The noise of each row; on whole parameters, of the same shapes for all members.
        rows: Contiguous; its memory must not move.
        states: The mean squares of each row, float32, of the form of the rows, for preconditioned
            noise by `on_gpu`; its memory must not move.
    """

    def __init__(
        self, members: Sequence[Noise], rows: torch.Tensor, states: torch.Tensor | None = None
    ) -> None:
        self._rows, self._states = rows, states
        sizes = members[0].sizes
        self._n_runs = len(sizes)
        offsets = np.cumsum([0, *sizes[:-1]])
        self._runs = Runs(
            owners=np.repeat(np.arange(len(members)), self._n_runs),
            offsets=np.tile(offsets, len(members)),
            starts=np.zeros(len(members) * self._n_runs, dtype=np.int64),
            sizes=np.tile(np.array(sizes, dtype=np.int64), len(members)),
            keys=np.empty(len(members) * self._n_runs, dtype=np.uint64),
        )
        self.reassign(members)
        self._addresses = rows.data_ptr() + rows.element_size() * (
            self._runs.owners * rows.shape[1] + self._runs.offsets
        )

    def reassign(self, members: Sequence[Noise]) -> None:
        """Assign the rows to other members; a captured CUDA graph of `on_gpu` follows."""
        self._members = members
        self._runs.keys[:] = np.array([member.keys for member in members], dtype=np.uint64).ravel()
        if "on_gpu" in self.__dict__ and self.on_gpu:
            self.on_gpu.set_keys(self._runs.keys)

    @functools.cached_property
    def on_gpu(self) -> Any:
        """The rows on a GPU; None for rows in CPU memory.

        `on_gpu.add_(ts, stds)`, with `rules` for preconditioned noise, takes tensors on the rows'
        device and can be captured in a CUDA graph.
        """
        cuda = backends.cuda() if backends.is_on_gpu(self._rows) else None
        return cuda and cuda.Rows(self._rows, self._runs, self._states)

    def add_(self, ts: Sequence[int], stds: Sequence[float]) -> None:
        """Add stds[k] * N_ts[k] to row k in place; a row whose std is 0 stays unchanged."""
        if self.on_gpu:
            device = self._rows.device
            self.on_gpu.add_(
                torch.tensor(ts, device=device),
                torch.tensor(stds, dtype=torch.float64, device=device),
            )
            return
        if backends.native() and self._rows.is_cpu and self._rows.dtype is torch.float32:
            ts_of_runs = np.repeat(np.array(ts, dtype=np.int64), self._n_runs)
            stds_of_runs = np.repeat(np.array(stds, dtype=np.float64), self._n_runs)
            add_on_threads(self._runs, self._addresses, ts_of_runs, stds_of_runs)
            torch.autograd.graph.increment_version([self._rows])
            return
        for member, row, t, std in zip(self._members, self._rows, ts, stds, strict=True):
            if std:
                member.add_(row.split(member.sizes), t, std)
