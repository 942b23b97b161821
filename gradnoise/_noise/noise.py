"""The noise of a seed on the named parameters of a model."""

import copy
import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from gradnoise._kernels import backends
from gradnoise._kernels.runs import Integers, Runs
from gradnoise._kernels.threads import NO_RULE, NO_SQUARES, NO_STATES, Floats, add_on_threads
from gradnoise._keys import key
from gradnoise._noise.chunks import add_in_chunks
from gradnoise._noise.memory import are_apart
from gradnoise._parts import Part, whole
from gradnoise._processes.preconditioned import RootMeanSquare

PURPOSE = "noise"

Std = float | npt.NDArray[np.float64]


class Noise:
    """The noise of a seed on named parameters.

    The noise std * N_t of an element is a function of seed, purpose, t, the parameter's name and
    the element's index. Elements are counted row by row in the whole parameter, whatever the
    tensor's layout in memory. float32 tensors in CPU memory get their noise in a single pass, on as
    many threads as torch uses; tensors on a GPU by a single kernel launch; all others, among them
    those on a GPU for which the kernel cannot be built, in chunks of 65,536 numbers.

    Args:
        seed: At least 0.
        shapes: The parameters' shapes by name.
        purpose: The use of the draws: streams of different purposes are independent.
        parts: For each tensor that holds only a part of its parameter: that part, by name.

    Attributes:
        sizes: Number of elements of each tensor.
        keys: The key of each parameter's stream.
    """

    def __init__(
        self,
        seed: int,
        shapes: Mapping[str, Sequence[int]],
        purpose: str = PURPOSE,
        parts: Mapping[str, Part] = {},
    ) -> None:
        self._names, self._purpose = tuple(shapes), purpose
        self._parts = [parts.get(name) or whole(shape) for name, shape in shapes.items()]
        self.keys = [int(key(seed, purpose, name)[0]) for name in shapes]
        self.sizes = [len(part.starts) * part.size for part in self._parts]
        self._n_bytes = 4 * np.array(self.sizes, dtype=np.int64)
        self._runs = Runs.of(self._parts, self.keys)
        self._runs_of_some: dict[tuple[int, ...], Runs] = {}

    def reseeded(self, seed: int) -> "Noise":
        """Return the noise of another seed on the same parameters, in less time."""
        other = copy.copy(self)
        other.keys = [int(key(seed, self._purpose, name)[0]) for name in self._names]
        keys = np.repeat(
            np.array(other.keys, dtype=np.uint64), [len(part.starts) for part in self._parts]
        )
        other._runs = dataclasses.replace(self._runs, keys=keys)
        other._runs_of_some = {}
        return other

    def add_(
        self,
        tensors: Sequence[torch.Tensor],
        t: int,
        std: Std,
        scales: Sequence[torch.Tensor] | None = None,
    ) -> None:
        """Add std * N_t to the tensors in place; each sum is rounded once to the tensor's type.

        Args:
            tensors: In the order of `shapes`, of any floating type, device and strides; no two
                elements may share memory.
            t: Update count; in [0, 2^63).
            std: Standard deviation, in the tensors' units: one for all, or one per tensor.
            scales: Factors of the noise, one per element, in tensors of the same shapes.

        Raises:
            ValueError: If a tensor's number of elements differs from that of its part or shape, or
                t is out of range.
        """
        _check_t(t)
        addresses = self.addresses(tensors) if scales is None else None
        if addresses is not None:
            self.add_at_(addresses, tensors, t, std)
            return
        sizes = [tensor.numel() for tensor in tensors]
        if sizes != self.sizes:
            raise ValueError(f"tensors must have {self.sizes} elements, but they have {sizes}.")
        stds = np.broadcast_to(np.asarray(std, dtype=np.float64), len(tensors))
        is_on_gpu = scales is None and all(map(backends.is_on_gpu, tensors))
        cuda = backends.cuda() if is_on_gpu else None
        if cuda:
            cuda.add_(tensors, self._runs, t, stds)
        elif scales is not None:
            self._add_scaled_(tensors, t, stds, dict(enumerate(scales)))
        else:
            chosen, runs, starts = self._where_plain(tensors)
            if chosen:
                _add_compiled(runs, starts, t, stds[list(chosen)])
            for i in sorted(set(range(len(tensors))) - set(chosen)):
                add_in_chunks(tensors[i], None, self._parts[i], self.keys[i], t, float(stds[i]))
        # the kernels write to memory without torch's knowledge
        torch.autograd.graph.increment_version(tensors)

    def addresses(self, tensors: Sequence[torch.Tensor | None]) -> Integers | None:
        """Return the tensors' addresses if the compiled kernel takes all in a single pass.

        It does if numba is installed, every tensor is contiguous float32 in CPU memory, and no two
        share memory; else None is returned.
        """
        if not backends.native():
            return None
        addresses = _addresses(tensors, self.sizes)
        is_apart = addresses is not None and are_apart(addresses, self._n_bytes)
        return addresses if is_apart else None

    def add_at_(
        self,
        addresses: Integers,
        tensors: Sequence[torch.Tensor | None],
        t: int,
        std: Std,
        squares: Floats = NO_SQUARES,
    ) -> None:
        """Add std * N_t to the tensors in a single pass.

        Args:
            addresses: What `addresses` returned for the tensors.
            tensors: The tensors.
            t: Update count; in [0, 2^63).
            std: Standard deviation: one for all, or one per tensor.
            squares: What `new_squares` returned, to be set to those of the tensors before the
                noise.

        Raises:
            ValueError: If t is out of range.
        """
        _check_t(t)
        _add_compiled(self._runs, addresses, t, std, squares=squares)
        torch.autograd.graph.increment_version(tensors)  # type: ignore[arg-type]  # none is None

    def norm_at(self, addresses: Integers) -> float:
        """Return the L2 norm of all tensors together; `addresses` returned their addresses."""
        squares = self.new_squares()
        _add_compiled(self._runs, addresses, 0, 0.0, squares=squares)
        return math.sqrt(squares.sum())

    def new_squares(self) -> Floats:
        """Return an array for sums of squares; the root of its sum is then the tensors' L2 norm."""
        return np.empty(self._n_chunks)

    @functools.cached_property
    def _n_chunks(self) -> int:
        native = backends.native()
        assert native is not None
        return int(native.n_chunks(self._runs.starts, self._runs.sizes))

    def add_preconditioned_(
        self,
        tensors: Sequence[torch.Tensor],
        t: int,
        std: Std,
        rule: RootMeanSquare,
        states: Sequence[torch.Tensor],
        grad_scale: float,
        *,
        updates: bool,
        addresses: Integers | None = None,
        squares: Floats = NO_SQUARES,
    ) -> None:
        """Add std * N_t * sqrt(G) to the tensors in place, G of the rule.

        Args:
            tensors: As `add_` takes them.
            t: Update count; in [0, 2^63).
            std: Standard deviation, in the tensors' units: one for all, or one per tensor.
            rule: The preconditioner.
            states: Its state for each tensor: contiguous, float32, on the tensor's device.
            grad_scale: The tensors are grad_scale times the gradients.
            updates: Whether the states are updated with the gradients first.
            addresses: What `addresses` returned for the tensors, if it was called.
            squares: With addresses: as of `add_at_`.
        """
        _check_t(t)
        stds = np.broadcast_to(np.asarray(std, dtype=np.float64), len(tensors))
        kept = rule.decay if updates else 1.0
        numbers = np.array([kept, 1 - kept, rule.damping, 1 / grad_scale])
        cuda = backends.cuda() if all(map(backends.is_on_gpu, tensors)) else None
        if cuda and addresses is None:
            cuda.add_(tensors, self._runs, t, stds, states, numbers)
            torch.autograd.graph.increment_version(tensors)
            return
        chosen, runs, starts = self._where_plain(tensors, addresses)
        if chosen:
            of_states = np.array([states[i].data_ptr() for i in chosen], dtype=np.int64)
            _add_compiled(runs, starts, t, stds[list(chosen)], of_states, numbers, squares)
        others = sorted(set(range(len(tensors))) - set(chosen))
        if updates:
            for i in others:
                rule.update_(states[i], tensors[i] / grad_scale)
        self._add_scaled_(tensors, t, stds, {i: rule.scale(states[i]) for i in others})
        torch.autograd.graph.increment_version(tensors)

    def _add_scaled_(
        self,
        tensors: Sequence[torch.Tensor],
        t: int,
        stds: npt.NDArray[np.float64],
        scales: Mapping[int, torch.Tensor],
    ) -> None:
        """Add std * N_t * scale to the tensors of these indices."""
        for i, scale in scales.items():
            add_in_chunks(tensors[i], scale, self._parts[i], self.keys[i], t, float(stds[i]))

    def _where_plain(
        self, tensors: Sequence[torch.Tensor], addresses: Integers | None = None
    ) -> tuple[tuple[int, ...], Runs, Integers]:
        """Return the indices of the tensors that the compiled kernel takes, their runs, addresses.

        Args:
            tensors: The tensors.
            addresses: What `addresses` returned for them, if it was called.
        """
        addresses = self.addresses(tensors) if addresses is None else addresses
        if addresses is not None:
            return tuple(range(len(tensors))), self._runs, addresses
        found = {
            i: address
            for i, tensor in enumerate(tensors)
            if backends.native() and (address := _addresses([tensor], [self.sizes[i]])) is not None
        }
        chosen = tuple(found)
        if chosen not in self._runs_of_some:
            parts, keys = [self._parts[i] for i in chosen], [self.keys[i] for i in chosen]
            self._runs_of_some = {chosen: Runs.of(parts, keys)} if chosen else {(): self._runs}
        starts = np.concatenate(list(found.values())) if found else np.empty(0, dtype=np.int64)
        return chosen, self._runs_of_some[chosen], starts


def _addresses(tensors: Sequence[torch.Tensor | None], sizes: Sequence[int]) -> Integers | None:
    """Return the tensors' addresses; None unless the compiled kernel takes all of them.

    It takes contiguous float32 tensors in CPU memory, of the given sizes.
    """
    if len(tensors) != len(sizes):
        return None
    # called at every update: a single loop, because each attribute access takes time
    addresses = [
        tensor.data_ptr()
        if type(tensor) is _Tensor
        and tensor.dtype is _F32
        and tensor.layout is _STRIDED
        and tensor.is_cpu
        and tensor.numel() == size
        and tensor.is_contiguous()
        else -1
        for tensor, size in zip(tensors, sizes, strict=True)
    ]
    return None if -1 in addresses else np.array(addresses, dtype=np.int64)


_Tensor, _F32, _STRIDED = torch.Tensor, torch.float32, torch.strided


def _add_compiled(
    runs: Runs,
    addresses: Integers,
    t: int,
    std: Std,
    states: Integers = NO_STATES,
    rule: npt.NDArray[np.float64] = NO_RULE,
    squares: Floats = NO_SQUARES,
) -> None:
    if len(runs.owners) > len(addresses):
        addresses = addresses[runs.owners] + 4 * runs.offsets
        states = states[runs.owners] + 4 * runs.offsets if len(states) else states
    stds = np.asarray(std, dtype=np.float64).reshape(-1)
    if len(stds) > 1:
        stds = stds[runs.owners]
    add_on_threads(runs, addresses, np.array([t], dtype=np.int64), stds, states, rule, squares)


def _check_t(t: int) -> None:
    if not 0 <= t < 2**63:
        raise ValueError(f"t must be in [0, 2^63), but got {t=}.")
