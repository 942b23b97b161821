"""The one model that the members of a stack train as: an epoch on buffers that stay where they are,
[members, numbers].

The members' state is copied in before an epoch and back after it, so an epoch that fails has
changed nothing, and trials come and go between epochs. On a GPU an update is captured once as a
CUDA graph and replayed: whatever differs from one update to the next, the examples and the noise's
update counts and sizes, is read from tables by a counter on the device.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from gradnoise._noise import Noise, StackedNoise
from gradnoise._processes import NoiseProcess
from gradnoise.techniques import dropout
from gradnoise.techniques.dropout import quantile
from gradnoise.techniques.weight_noise import WeightNoise
from gradnoise.training.single import (
    epoch_order,
    evaluating,
    n_steps,
    noise_to_gradient,
    splits_measured,
)
from gradnoise.training.stacked_run import StackedRun, gradient_of, measure_of, rows
from gradnoise.workloads.base import Batch

WARM_UP_STEPS = 3
MEASURED_AT_ONCE, MEASURED_AT_ONCE_ON_CPU = 64, 4

Update = int | torch.Tensor
"""An update of the epoch, from 0: a number, or under a CUDA graph what holds it on the device, [1]."""

TermsOf = Callable[[int], Sequence[tuple[int, float]]]
"""The noise of an update t: the update counts and sizes that add up to it."""


@dataclass(frozen=True, eq=False)
class Terms:
    """Which noise each member gets at each update of an epoch: its own, by update counts and sizes,
    [terms, updates, members].
    """

    noises: Sequence[Noise]
    ts: npt.NDArray[np.int64]
    stds: npt.NDArray[np.float64]

    @classmethod
    def of(
        cls,
        n_steps: int,
        runs: Sequence[StackedRun],
        noise: Callable[[StackedRun], Noise],
        terms: Callable[[StackedRun], TermsOf | None],
    ) -> "Terms | None":
        """Ask for the noise of each run, and for its terms at each of its next updates; None if no
        run has any.
        """
        each = [(run, terms(run)) for run in runs]
        found = [[own(run.t + i) for i in range(n_steps)] if own else [] for run, own in each]
        n_terms = max((len(own) for updates in found for own in updates), default=0)
        if n_terms == 0:
            return None
        ts, stds = (
            np.zeros((n_terms, n_steps, len(runs)), dtype=np.int64),
            np.zeros((n_terms, n_steps, len(runs))),
        )
        for k, updates in enumerate(found):
            for i, own in enumerate(updates):
                for j, (t, std) in enumerate(own):
                    ts[j, i, k], stds[j, i, k] = t, std
        return cls([noise(run) for run in runs], ts, stds)


@dataclass(frozen=True, eq=False)
class StackedEpoch:
    """What the next epoch of some runs of equal form needs; epochs of equal `kind` can use the same
    StackedModel.

    Args:
        members: The runs.
        n_rows: At least as many; on rows beyond them the first one is trained along, to no effect.
    """

    members: Sequence[StackedRun]
    n_rows: int

    @cached_property
    def runs(self) -> list[StackedRun]:
        """The run of each row."""
        return [*self.members, *[self.members[0]] * (self.n_rows - len(self.members))]

    @cached_property
    def n_steps(self) -> int:
        return n_steps(self.runs[0].workload)

    @cached_property
    def on_weights(self) -> Terms | None:
        def terms(run: StackedRun) -> TermsOf | None:
            effect = run.effect
            return (
                (lambda t: [(t, effect.schedule(t))]) if isinstance(effect, WeightNoise) else None
            )

        return Terms.of(self.n_steps, self.runs, lambda run: run.noise, terms)

    @cached_property
    def on_activations(self) -> Terms | None:
        def noise(run: StackedRun) -> Noise:
            return Noise(run.spec.seed, self.dropped, dropout.PURPOSE)

        return Terms.of(
            self.n_steps,
            self.runs,
            noise,
            lambda run: (lambda t: [(t, 1.0)]) if run.dropped else None,
        )

    @cached_property
    def on_gradients(self) -> Terms | None:
        def terms(run: StackedRun) -> TermsOf | None:
            return (
                run.effect.terms
                if isinstance(run.effect, NoiseProcess) and run.effect.preconditioner is None
                else None
            )

        return Terms.of(self.n_steps, self.runs, lambda run: run.noise, terms)

    @cached_property
    def preconditioned(self) -> list[tuple[int, StackedRun, NoiseProcess]]:
        """The members, each with its row, whose noise is scaled coordinate by coordinate."""
        injections = [
            (k, run, run.effect)
            for k, run in enumerate(self.members)
            if isinstance(run.effect, NoiseProcess)
        ]
        return [
            (k, run, injection)
            for k, run, injection in injections
            if injection.preconditioner is not None
        ]

    @cached_property
    def dropped(self) -> dict[str, torch.Size]:
        """The places where some member drops activations, and the shape there."""
        return {name: shape for run in self.runs for name, (_, shape) in run.dropped.items()}

    @cached_property
    def hyper(self) -> tuple[str, ...]:
        """The hyperparameters that are not 0 for every member."""
        return tuple(
            name for name in self.runs[0].hyper if any(run.hyper[name] for run in self.runs)
        )

    @cached_property
    def clips(self) -> tuple[str, ...]:
        return tuple(
            clip
            for clip in ("clip_value", "clip_norm")
            if any(getattr(run, clip) < math.inf for run in self.runs)
        )

    @property
    def kind(self) -> Hashable:
        n_terms = tuple(
            len(terms.ts) if terms else 0
            for terms in (self.on_weights, self.on_activations, self.on_gradients)
        )
        return (
            self.runs[0].form,
            len(self.runs),
            n_terms,
            tuple(self.dropped),
            bool(self.preconditioned),
            self.hyper,
            self.clips,
        )


class StackedModel:
    """Buffers for epochs of one kind.

    Args:
        epoch: One of them.
    """

    def __init__(self, epoch: StackedEpoch) -> None:
        self._first = first = epoch.runs[0]
        n, like = len(epoch.runs), first.weights
        self._device = like.device
        self._weights = like.new_empty(n, like.numel())
        self._gradients = torch.empty_like(self._weights)
        self._moments = [torch.empty_like(self._weights) for _ in first.moments]
        self._buffers = {
            name: buffer.new_empty(n, *buffer.shape) for name, buffer in first.buffers.items()
        }
        self._by_name, self._gradients_by_name = (
            by_name(self._weights, first.shapes),
            by_name(self._gradients, first.shapes),
        )
        self._gradient, self._metrics, self._update = (
            gradient_of(first),
            measure_of(first),
            first.setup.optimizer.stacked,
        )
        self._hyper = {
            name: torch.empty(n, 1, dtype=torch.float64, device=self._device)
            for name in epoch.hyper
        }
        self._clips = {name: like.new_empty(n, 1) for name in epoch.clips}
        self._steps_before = torch.empty(n, 1, dtype=torch.float64, device=self._device)
        self._order = torch.empty(
            epoch.n_steps, n * first.workload.batch_size, dtype=torch.int64, device=self._device
        )
        self._examples = [
            part.new_empty(self._order.shape[1], *part.shape[1:]) for part in first.data.train
        ]
        self._batch: Batch = tuple(part.view(n, -1, *part.shape[1:]) for part in self._examples)
        self._losses = like.new_empty(n, epoch.n_steps)
        self._n_steps, self._norms = epoch.n_steps, like.new_empty(n)

        self._noisy = torch.empty_like(self._weights) if epoch.on_weights else self._weights
        self._noisy_by_name = by_name(self._noisy, first.shapes)
        normals = torch.empty(
            n,
            sum(shape.numel() for shape in epoch.dropped.values()),
            dtype=torch.float32,
            device=self._device,
        )
        self._normals, self._quantiles = normals, torch.empty_like(normals)
        self._masks, self._kept = (torch.empty_like(normals, dtype=like.dtype) for _ in range(2))
        self._masks_by_name = {
            f"{name}.mask": mask for name, mask in by_name(self._masks, epoch.dropped).items()
        }
        self._on_weights, self._on_activations, self._on_gradients = (
            NoiseTable(rows, terms) if terms else None
            for rows, terms in (
                (self._noisy, epoch.on_weights),
                (normals, epoch.on_activations),
                (self._gradients, epoch.on_gradients),
            )
        )
        self._preconditioned: list[tuple[StackedRun, NoiseProcess, torch.Tensor, torch.Tensor]] = []
        tables = (self._on_weights, self._on_activations, self._on_gradients)
        self._is_capturable = (
            like.is_cuda
            and not epoch.preconditioned
            and all(table is None or table.is_capturable for table in tables)
        )
        self._graph: torch.cuda.CUDAGraph | None = None
        self._i = torch.zeros(1, dtype=torch.int64, device=self._device)

    @torch.no_grad()
    def train(self, epoch: StackedEpoch) -> list[Mapping[str, float] | None]:
        """Train the runs by one epoch and return each one's values, or None where it became
        non-finite.
        """
        self.start(epoch)
        for i in range(epoch.n_steps):
            self.update(i)
        is_finite = self._weights.isfinite().all(dim=1).tolist()
        losses = self._losses.mean(1).tolist()
        ratios = [
            noise_to_gradient(run.effect, run.t + epoch.n_steps - 1, run.weights.numel(), norm)
            for run, norm in zip(epoch.runs, self._norms.tolist(), strict=True)
        ]
        own_values = zip(losses, ratios, self._measure(), strict=True)
        values: list[Mapping[str, float]] = [
            {"train_loss": loss} | ratio | measured for loss, ratio, measured in own_values
        ]
        for k, run in enumerate(epoch.members):
            run.weights.copy_(self._weights[k])
            for own, moment in zip(run.moments, self._moments, strict=True):
                own.copy_(moment[k])
            for name, buffer in self._buffers.items():
                run.buffers[name].copy_(buffer[k])
            run.t += epoch.n_steps
            run.epoch += 1
        for run, _, _, state in self._preconditioned:
            run.preconditioner_state.copy_(state)
        whole = [
            own if ok and all(map(math.isfinite, own.values())) else None
            for own, ok in zip(values, is_finite, strict=True)
        ]
        return whole[: len(epoch.members)]

    def start(self, epoch: StackedEpoch) -> None:
        """Take in the runs and what their updates need; then comes `update(0)`, `update(1)`, ... to
        the last of the epoch.
        """
        if self._is_capturable and self._graph is None:
            self._capture(epoch)
        self._load(epoch)

    def update(self, i: int) -> None:
        """Make update i of the epoch."""
        if self._graph is None:
            self._step(i)
        else:
            self._graph.replay()

    @torch.no_grad()
    def _load(self, epoch: StackedEpoch) -> None:
        runs = epoch.runs
        quantiles, kept = (
            by_name(self._quantiles, epoch.dropped),
            by_name(self._kept, epoch.dropped),
        )
        for k, run in enumerate(runs):
            self._weights[k].copy_(run.weights)
            for moment, own in zip(self._moments, run.moments, strict=True):
                moment[k].copy_(own)
            for name, buffer in self._buffers.items():
                buffer[k].copy_(run.buffers[name])
            for name in epoch.dropped:
                rate = run.dropped[name][0] if name in run.dropped else 0.0
                quantiles[name][k] = quantile(rate)
                kept[name][k] = 1 - rate
        for name, column in self._hyper.items():
            _fill(
                column,
                [
                    run.hyper[name] * (run.setup.lr_factor(run.epoch) if name == "lr" else 1.0)
                    for run in runs
                ],
            )
        for name, column in self._clips.items():
            _fill(column, [getattr(run, name) for run in runs])
        _fill(self._steps_before, [run.t for run in runs])
        orders = [epoch_order(run.workload, run.spec.seed, run.epoch) for run in runs]
        self._order.copy_(torch.stack(orders, dim=1).view(self._order.shape))
        for table, terms in (
            (self._on_weights, epoch.on_weights),
            (self._on_activations, epoch.on_activations),
            (self._on_gradients, epoch.on_gradients),
        ):
            if table and terms:
                table.load(terms)
        self._preconditioned = [
            (run, injection, self._gradients[k], run.preconditioner_state.clone())
            for k, run, injection in epoch.preconditioned
        ]
        self._i.zero_()

    @torch.no_grad()
    def _step(self, i: Update) -> None:
        rows = pick(self._order, i)
        for part, examples in zip(self._first.data.train, self._examples, strict=True):
            torch.index_select(part, 0, rows, out=examples)
        if self._on_weights:
            self._noisy.copy_(self._weights)
            self._on_weights.add_(i)
        if self._on_activations:
            self._normals.zero_()
            self._on_activations.add_(i)
            self._masks.copy_(self._normals > self._quantiles).div_(self._kept)
        losses = self._gradient(
            self._noisy_by_name,
            {**self._buffers, **self._masks_by_name},
            self._batch,
            self._gradients_by_name,
        )
        self._clip()
        if i is self._i or i == self._n_steps - 1:
            torch.linalg.vector_norm(self._gradients, dim=1, out=self._norms)
        for run, injection, gradient, state in self._preconditioned:
            _add_preconditioned(run, injection, gradient, state, run.t + int(i))
        if self._on_gradients:
            self._on_gradients.add_(i)
        self._update(self._weights, self._gradients, self._moments, self._hyper, self._steps_before)
        self._steps_before += 1
        if isinstance(i, int):
            self._losses[:, i] = losses
        else:
            self._losses.index_copy_(1, i, losses[:, None].to(self._losses.dtype))
            i += 1

    def _clip(self) -> None:
        if "clip_value" in self._clips:
            limit = self._clips["clip_value"]
            torch.clamp(self._gradients, min=-limit, max=limit, out=self._gradients)
        if "clip_norm" in self._clips:
            norms, limit = (
                torch.linalg.vector_norm(self._gradients, dim=1, keepdim=True),
                self._clips["clip_norm"],
            )
            factor = (limit / (norms + 1e-6)).clamp_(max=1)
            # a norm may overflow where no coordinate does
            self._gradients.mul_(factor.masked_fill_(limit == math.inf, 1.0))

    def _capture(self, epoch: StackedEpoch) -> None:
        """Capture one update, which reads its number from the device and counts it up; the buffers
        are not yet anybody's.
        """
        self._load(epoch)
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]  # of torch
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_STEPS):
                self._step(self._i)
                self._i.zero_()
        torch.cuda.current_stream(self._device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step(self._i)
        self._graph = graph

    def _measure(self) -> list[dict[str, float]]:
        """Return the metrics of every member by split and name."""
        first, n = self._first, len(self._weights)
        # whose activations stay in its caches
        at_once = MEASURED_AT_ONCE if self._weights.is_cuda else MEASURED_AT_ONCE_ON_CPU
        values: list[dict[str, float]] = [{} for _ in range(n)]
        with evaluating(first.model):
            for split in splits_measured(first.spec):
                batch: Batch = getattr(first.data, split)
                for k in range(0, n, at_once):
                    some = slice(k, k + at_once)
                    for name, column in self._metrics(
                        rows(self._by_name, some), rows(self._buffers, some), batch
                    ).items():
                        for own, value in zip(values[some], column.tolist(), strict=True):
                            own[f"{split}_{name}"] = float(value)
        return values


class NoiseTable:
    """The noise of a stack's members at each update of an epoch.

    Args:
        rows: What it is added to, [members, numbers].
        terms: Which noise.
    """

    def __init__(self, rows: torch.Tensor, terms: Terms) -> None:
        self._noise = StackedNoise(terms.noises, rows)
        self._terms = terms
        self._on_device = [
            (_to(ts, rows), _to(stds, rows)) for ts, stds in zip(terms.ts, terms.stds, strict=True)
        ]
        self.is_capturable = self._noise.on_gpu is not None

    def load(self, terms: Terms) -> None:
        """Go on with other noise, of as many terms; what is on the device stays where it is."""
        self._noise.reassign(terms.noises)
        self._terms = terms
        for (ts, stds), own_ts, own_stds in zip(self._on_device, terms.ts, terms.stds, strict=True):
            ts.copy_(torch.from_numpy(own_ts))
            stds.copy_(torch.from_numpy(own_stds))

    def add_(self, i: Update) -> None:
        """Add the noise of update i."""
        if isinstance(i, int):
            for ts, stds in zip(self._terms.ts, self._terms.stds, strict=True):
                self._noise.add_(ts[i], stds[i])
        else:
            for ts, stds in self._on_device:
                self._noise.on_gpu.add_(pick(ts, i), pick(stds, i))


def _to(table: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(table).to(like.device, copy=True)


def by_name(flat: torch.Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, torch.Tensor]:
    """Return views of [members, numbers] as each parameter, [members, *shape]; what is written to
    the one shows in the other.
    """
    parts = torch.split(flat, [shape.numel() for shape in shapes.values()], dim=1)
    return {
        name: part.view(-1, *shape)
        for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }


def pick(table: torch.Tensor, i: Update) -> torch.Tensor:
    """Return row i; one that is known on the device alone is read without asking the device for it."""
    return table[i] if isinstance(i, int) else table.index_select(0, i)[0]


def _fill(column: torch.Tensor, values: Sequence[float]) -> None:
    column.copy_(torch.tensor(values, dtype=torch.float64)[:, None])


def _add_preconditioned(
    run: StackedRun, injection: NoiseProcess, gradient: torch.Tensor, state: torch.Tensor, t: int
) -> None:
    preconditioner, sizes = (
        injection.preconditioner,
        [shape.numel() for shape in run.shapes.values()],
    )
    assert preconditioner is not None
    preconditioner.update_(state, gradient)
    scales = torch.split(preconditioner.scale(state), sizes)
    for own_t, std in injection.terms(t):
        run.noise.add_(torch.split(gradient, sizes), own_t, std, scales)
