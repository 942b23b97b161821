"""Noise: what is added to gradients, and the drawing and adding of it, in place."""

import functools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from gradnoise.kernels import portable
from gradnoise.keys import key
from gradnoise.parts import Part, whole
from gradnoise.schedules import Schedule

PURPOSE = "noise"
CHUNK = 2**16
# numbers that a thread takes at a time; more where that would make over SHARES shares a thread
SHARE = 2**17
SHARES = 16  # each share looks through all runs, so their number is bounded
# below so many numbers, handing a share of them to another thread costs more than it saves
THREADED_FROM = 2**18

Integers = npt.NDArray[np.int64]
Terms = Callable[[int], Sequence[tuple[int, float]]]
"""The noise of update t: pairs (t', std), whose std * N_t' are added up; N_t' is the same standard
normals whenever t' is asked for.
"""


class Preconditioner(Protocol):
    """Gives the noise of each coordinate its own size, from a state: a float32 tensor a parameter,
    kept by whoever trains, 0 at first.
    """

    def update_(self, state: torch.Tensor, gradient: torch.Tensor) -> None:
        """Take a gradient, before its noise, into the state."""

    def scale(self, state: torch.Tensor) -> torch.Tensor:
        """Return what the noise of each coordinate is multiplied by."""


@dataclass(frozen=True, kw_only=True)
class NoiseProcess:
    """What is added to the gradients of an update: g_t <- g_t + sum of std N_t' over the pairs (t',
    std) of terms(t), N_t' ~ N(0, I).

    Args:
        terms: From the update count t, at least 0, to the pairs: an update t' whose draws to use,
            at least 0, and their standard deviation, in gradient units. N_t' is the same whenever
            it is asked for.
        preconditioner: Gives what the sum is multiplied by, coordinate by coordinate; if None,
            nothing.

    Noise that comes back once at half its size:

    >>> NoiseProcess(terms=lambda t: [(t, 0.1), (t - 1, 0.05)] if t else [(t, 0.1)]).terms(7)
    [(7, 0.1), (6, 0.05)]
    """

    terms: Terms
    preconditioner: Preconditioner | None = None

    def size(self, t: int) -> float:
        """Return the standard deviation of what is added at update t, before the preconditioner:
        that of the sum of independent draws.

        >>> NoiseProcess(terms=lambda t: [(t, 0.3), (t - 1, -0.4)]).size(7)
        0.5
        """
        return math.hypot(*(std for _, std in self.terms(t)))

    @classmethod
    def of(cls, schedule: Schedule) -> "NoiseProcess":
        """Return g_t <- g_t + std_t N_t, independent at every update, where std_t = schedule(t), in
        gradient units.

        >>> NoiseProcess.of(lambda t: 0.1 / (1 + t)).terms(4)
        ((4, 0.02),)
        """

        def terms(t: int) -> tuple[tuple[int, float]]:
            std = float(schedule(t))
            if not 0 <= std < math.inf:
                raise ValueError(
                    "the schedule must give a standard deviation of at least 0 and finite, but "
                    f"gave {std} at {t=}."
                )
            return ((t, std),)

        return cls(terms=terms)


class Noise:
    """The noise of one seed on named parameters: std * N_t of an element depends on seed, purpose,
    t, the parameter's name and the element.

    Elements are counted along the rows of the whole parameter, whatever its layout in memory.
    float32 on the CPU is drawn and added in one pass, by as many threads as torch uses, and on a
    GPU by one launch for all parameters; other tensors get it in chunks of 65,536 numbers.

    Args:
        seed: At least 0.
        shapes: The parameters' shapes by name.
        purpose: What the numbers are for: streams of different purposes are independent.
        parts: For a tensor that holds but a part of its parameter: which.
    """

    def __init__(
        self,
        seed: int,
        shapes: Mapping[str, Sequence[int]],
        purpose: str = PURPOSE,
        parts: Mapping[str, Part] = {},
    ) -> None:
        self._parts = [parts.get(name) or whole(shape) for name, shape in shapes.items()]
        self._keys = [int(key(seed, purpose, name)[0]) for name in shapes]
        self._runs = Runs.of(self._parts, self._keys)
        self._some_runs: dict[tuple[int, ...], Runs] = {}
        self._sizes = [len(part.starts) * part.size for part in self._parts]

    def add_(
        self,
        tensors: Sequence[torch.Tensor],
        t: int,
        std: float,
        scales: Sequence[torch.Tensor] | None = None,
    ) -> None:
        """Add std * N_t to the tensors, given in the order of `shapes`, in place, each sum rounded
        once to the tensor's type.

        Args:
            tensors: Of any floating type, device and strides, but no element may lie twice in
                memory.
            t: Update count; in [0, 2^63).
            std: Standard deviation, in the tensors' units.
            scales: What the noise is multiplied by, element by element.

        Raises:
            ValueError: If a tensor has another number of elements than it had when this was made,
                or t is out of range.
        """
        if scales is None and self.add_plain_(tensors, t, std):
            return
        sizes = [tensor.numel() for tensor in tensors]
        if sizes != self._sizes:
            raise ValueError(f"tensors must have {self._sizes} elements, but they have {sizes}.")
        if scales is None and all(map(_is_on_gpu, tensors)) and (cuda := _cuda()):
            cuda.add_(tensors, self._runs, t, std)
        else:
            compiled = _compiled() if scales is None else None
            found = {
                i: address
                for i, tensor in enumerate(tensors)
                if (address := _addresses([tensor], [sizes[i]])) is not None
            }
            plain = tuple(found) if compiled else ()
            if (
                compiled
                and plain
                and not _add_compiled(
                    compiled, self._runs_of(plain), np.concatenate(list(found.values())), t, std
                )
            ):
                plain = ()
            for i in sorted(set(range(len(tensors))) - set(plain)):
                _add_in_chunks(
                    tensors[i],
                    None if scales is None else scales[i],
                    self._parts[i],
                    self._keys[i],
                    t,
                    std,
                )
        # the kernels write where torch does not see it
        torch.autograd.graph.increment_version(tensors)

    def add_plain_(self, tensors: Sequence[torch.Tensor | None], t: int, std: float) -> bool:
        """Add std * N_t in one pass, if each tensor is one run of float32 in the CPU's memory, and
        none shares it; else return False.
        """
        if not 0 <= t < 2**63:
            raise ValueError(f"t must be in [0, 2^63), but got {t=}.")
        compiled = _compiled()
        addresses = _addresses(tensors, self._sizes) if compiled else None
        if (
            compiled is None
            or addresses is None
            or not _add_compiled(compiled, self._runs, addresses, t, std)
        ):
            return False
        torch.autograd.graph.increment_version(tensors)  # type: ignore[arg-type]  # all are there
        return True

    def _runs_of(self, chosen: tuple[int, ...]) -> "Runs":
        if chosen not in self._some_runs:
            self._some_runs = {
                chosen: Runs.of([self._parts[i] for i in chosen], [self._keys[i] for i in chosen])
            }
        return self._some_runs[chosen]


class StackedNoise:
    """The noise of many members on the rows of one tensor, [members, numbers], each of which holds
    a member's parameters in turn.

    Each row gets what the member's own noise would give it; float32 in one pass over all rows, or
    by one launch on a GPU.

    Args:
        members: The noise of each row, on whole parameters of the same shapes.
        rows: Contiguous; its memory must stay where it is.
    """

    def __init__(self, members: Sequence[Noise], rows: torch.Tensor) -> None:
        self._rows = rows
        sizes = members[0]._sizes
        self._parts = [row.split(sizes) for row in rows]
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
        """Give the rows to other members; a CUDA graph that holds `on_gpu` goes on with theirs."""
        self._members = members
        self._runs.keys[:] = np.array(
            [member._keys for member in members], dtype=np.uint64
        ).reshape(-1)
        if "on_gpu" in self.__dict__ and self.on_gpu:
            self.on_gpu.set_keys(self._runs.keys)

    @functools.cached_property
    def on_gpu(self) -> Any:
        """What adds the noise by one launch, or None: `add_(ts, stds)` of tensors on the rows'
        device, which a CUDA graph may capture.
        """
        cuda = _cuda() if _is_on_gpu(self._rows) else None
        return cuda and cuda.Rows(self._rows, self._runs, self._addresses)

    def add_(self, ts: Sequence[int], stds: Sequence[float]) -> None:
        """Add stds[k] * N_ts[k] to row k, in place; a row whose standard deviation is 0 stays as it
        is.
        """
        if self.on_gpu:
            device = self._rows.device
            self.on_gpu.add_(
                torch.tensor(ts, device=device),
                torch.tensor(stds, dtype=torch.float64, device=device),
            )
            return
        compiled = _compiled()
        if compiled and self._rows.is_cpu and self._rows.dtype is _F32:
            own_ts = np.repeat(np.array(ts, dtype=np.int64), self._n_runs)
            _add_runs(
                compiled,
                self._runs,
                self._addresses,
                own_ts,
                np.repeat(np.array(stds, dtype=np.float64), self._n_runs),
            )
            torch.autograd.graph.increment_version([self._rows])
            return
        for member, parts, t, std in zip(self._members, self._parts, ts, stds, strict=True):
            if std:
                member.add_(parts, t, std)


@dataclass(frozen=True, eq=False)
class Runs:
    """The runs of all tensors in a row: each one's tensor and byte offset in it, first element,
    size and key.
    """

    owners: Integers
    offsets: Integers
    starts: Integers
    sizes: Integers
    keys: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, parts: Sequence[Part], keys: Sequence[int]) -> "Runs":
        n_runs = [len(part.starts) for part in parts]
        sizes = np.array([part.size for part in parts], dtype=np.int64)
        return cls(
            owners=np.repeat(np.arange(len(parts)), n_runs),
            offsets=np.concatenate(
                [np.arange(n) * size for n, size in zip(n_runs, sizes, strict=True)]
            ),
            starts=np.concatenate([part.starts for part in parts]),
            sizes=np.repeat(sizes, n_runs),
            keys=np.repeat(np.array(keys, dtype=np.uint64), n_runs),
        )

    @functools.cached_property
    def n_numbers(self) -> int:
        return int(self.sizes.sum())


def _addresses(tensors: Sequence[torch.Tensor | None], sizes: Sequence[int]) -> Integers | None:
    """Return where the tensors begin, if each is one run of so many float32 in the CPU's memory;
    else None.

    Every step asks, and every attribute of every gradient takes its time: this is one plain loop.
    """
    if len(tensors) != len(sizes):
        return None
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


def _is_on_gpu(tensor: torch.Tensor) -> bool:
    return (
        tensor.is_cuda
        and tensor.is_contiguous()
        and tensor.dtype in (torch.float32, torch.bfloat16, torch.float16)
    )


def _add_compiled(
    compiled: ModuleType, runs: Runs, addresses: Integers, t: int, std: float
) -> bool:
    if len(runs.owners) > len(addresses):
        addresses = addresses[runs.owners] + 4 * runs.offsets
    return _add_runs(compiled, runs, addresses, np.array([t], dtype=np.int64), np.array([std]))


def _add_runs(
    compiled: ModuleType,
    runs: Runs,
    addresses: Integers,
    ts: Integers,
    stds: npt.NDArray[np.float64],
) -> bool:
    n_threads = torch.get_num_threads() if runs.n_numbers >= THREADED_FROM else 1
    if n_threads == 1:
        return bool(compiled.add_all(addresses, runs.starts, runs.sizes, runs.keys, ts, stds, 1, 0))
    n_shares = min(-(-runs.n_numbers // SHARE), SHARES * n_threads)
    if team := _team():
        return bool(
            team.add_all_on(
                n_threads, addresses, runs.starts, runs.sizes, runs.keys, ts, stds, n_shares
            )
        )
    shares = iter(range(n_shares))  # whoever is free takes the next

    def work() -> bool:
        return all(
            compiled.add_all(
                addresses, runs.starts, runs.sizes, runs.keys, ts, stds, n_shares, share
            )
            for share in shares
        )

    others = [_threads(n_threads).submit(work) for _ in range(1, n_threads)]
    return all([work(), *(other.result() for other in others)])


def _add_in_chunks(
    tensor: torch.Tensor, scale: torch.Tensor | None, part: Part, key: int, t: int, std: float
) -> None:
    rows = _rows(tensor, part)
    scales = None if scale is None else _rows(scale, part)
    for i, start in enumerate(part.starts.tolist()):
        for offset, block in _blocks(rows[i]):
            # to the last bit as if it lay in one run
            if scales is None and block.dtype is torch.float32 and block.is_cpu:
                near = block.contiguous()
                _add_run(near, start + offset, key, t, std)
                if near is not block:
                    block.copy_(near)
                continue
            drawn = torch.zeros(block.shape, dtype=torch.float32, device="cpu")
            _add_run(drawn, start + offset, key, t, std)
            drawn = drawn.to(block.device)
            if scales is not None:
                drawn *= scales[i].reshape(-1)[offset : offset + block.numel()].view(block.shape)
            block.add_(drawn)
    if rows.data_ptr() != tensor.data_ptr():  # its strides are such that no view shows the runs
        tensor.copy_(rows.view(tensor.shape))


def _rows(tensor: torch.Tensor, part: Part) -> torch.Tensor:
    return tensor[None] if len(part.starts) == 1 else tensor.reshape(len(part.starts), -1)


def _blocks(tensor: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """Cut a tensor into views of at most CHUNK numbers, each one run of elements, with the first's
    place.
    """
    if tensor.numel() <= CHUNK:
        yield 0, tensor
        return
    size = tensor[0].numel()
    if size <= CHUNK:
        n = CHUNK // size
        yield from ((i * size, tensor[i : i + n]) for i in range(0, len(tensor), n))
    else:
        yield from (
            (i * size + offset, block)
            for i, row in enumerate(tensor)
            for offset, block in _blocks(row)
        )


def _add_run(values: torch.Tensor, start: int, key: int, t: int, std: float) -> None:
    compiled = _compiled()
    if compiled:
        part = Part(np.array([start], dtype=np.int64), values.numel())
        _add_compiled(compiled, Runs.of([part], [key]), np.array([values.data_ptr()]), t, std)
    else:
        portable.add(values.view(-1).numpy(), start, key, t, std)


@functools.cache
def _compiled() -> ModuleType | None:
    try:
        from gradnoise.kernels import compiled
    except ImportError:  # numba is an extra
        return None
    return compiled


@functools.cache
def _cuda() -> ModuleType | None:
    try:
        from gradnoise.kernels import cuda
    except ImportError:  # Triton comes with torch on Linux
        return None
    return cuda


def _team() -> ModuleType | None:
    return None if _is_forked else _import_team()


@functools.cache
def _import_team() -> ModuleType | None:
    try:
        from gradnoise.kernels import team
    except (ImportError, OSError):  # torch has other threads on systems other than Linux
        return None
    return team


@functools.cache
def _threads(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n - 1, thread_name_prefix="gradnoise")


_is_forked = False


def _forget_threads() -> None:
    """Threads do not survive a fork; a pool can be made anew, but not torch's."""
    global _is_forked
    _is_forked = True
    _threads.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
