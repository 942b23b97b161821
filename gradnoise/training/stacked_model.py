"""The model as which the members of a stack train, on buffers [members, numbers].

The buffers keep their place in memory. The members' state is copied in before an epoch and back
after it. So an epoch that fails has changed no member, and members can change between epochs. On a
GPU an update is captured once as a CUDA graph and replayed: what differs from one update to the
next, the examples and the terms of the noise, is read from tables by a counter on the device.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import torch

from gradnoise._kernels import backends
from gradnoise._processes import NoiseProcess, noise_to_gradient
from gradnoise.training import graphs
from gradnoise.training.epochs import evaluating, make_ahead, splits_measured
from gradnoise.training.noise_terms import NoiseTable, NoiseTerms, Update, pick
from gradnoise.training.stacked_epoch import StackedEpoch
from gradnoise.training.stacked_functions import StackedFunctions
from gradnoise.training.stacked_run import StackedRun, by_name, gradient_of, measure_of, rows
from gradnoise.training.trace import beat
from gradnoise.workloads.base import Batch, Tensors

MEASURED_AT_ONCE, MEASURED_AT_ONCE_ON_CPU = 64, 4
NOISE_ELSEWHERE = "the GPU's kernel does not draw the noise."


class StackedModel:
    """The buffers for epochs of one kind, and their updates.

    Args:
        epoch: An epoch of that kind.
        may_capture: Whether updates may be captured as a CUDA graph where that is possible.

    Attributes:
        weights: The members' weights, [members, numbers].
        losses: The losses of the epoch so far, [members, updates].
        counter: The next update, counted on the device, [1].
        eager: Why the updates could not be captured as a CUDA graph, a sentence; empty if they
            could, or were not to be.
    """

    def __init__(self, epoch: StackedEpoch, *, may_capture: bool = True) -> None:
        self._first = first = epoch.runs[0]
        n, like = len(epoch.runs), first.weights
        self._device = like.device
        self._is_ahead = self._device.type != "cpu"
        self.weights = like.new_empty(n, like.numel())
        self._gradients = torch.empty_like(self.weights)
        self._moments = [torch.empty_like(self.weights) for _ in first.moments]
        self._buffers = {
            name: buffer.new_empty(n, *buffer.shape) for name, buffer in first.buffers.items()
        }
        self._by_name = by_name(self.weights, first.shapes)
        self._gradients_by_name = by_name(self._gradients, first.shapes)
        self._functions = StackedFunctions(epoch.runs)
        self._gradient = gradient_of(first, self._functions.hyper["loss"])
        self._metrics = measure_of(first)
        assert first.setup.optimizer.stacked is not None
        self._rule = first.setup.optimizer.stacked
        self._updated = [(self.weights, self._gradients, self._moments)]
        if first.setup.optimizer.per_parameter:
            moments = [by_name(moment, first.shapes) for moment in self._moments]
            self._updated = [
                (weights, self._gradients_by_name[name], [moment[name] for moment in moments])
                for name, weights in self._by_name.items()
            ]
        self._hyper = {
            name: torch.empty(n, 1, dtype=torch.float64, device=self._device)
            for name in epoch.hyper
        }
        self._rates = None if epoch.rates is None else epoch.rates.to(self._device)
        self._clips = {name: like.new_empty(n, 1) for name in epoch.clips}
        self._steps_before = torch.empty(n, 1, dtype=torch.float64, device=self._device)
        batch_size = first.workload.batch_size
        self._order = torch.empty(
            n, epoch.n_steps, batch_size, dtype=first.order.dtype, device=self._device
        )
        self._examples = [
            part.new_empty(n * batch_size, *part.shape[1:]) for part in first.data.train
        ]
        self._batch: Batch = tuple(part.view(n, -1, *part.shape[1:]) for part in self._examples)
        self.losses = like.new_empty(n, epoch.n_steps)
        self._n_steps, self._norms = epoch.n_steps, like.new_empty(n)

        is_moved = epoch.on_weights is not None or self._functions.perturbs
        self._moved = torch.empty_like(self.weights) if is_moved else self.weights
        self._moved_by_name = by_name(self._moved, first.shapes)
        n_activations = sum(shape.numel() for shape in epoch.dropped.values())
        self._normals = torch.empty(n, n_activations, dtype=torch.float32, device=self._device)
        self._quantiles = torch.empty_like(self._normals)
        self._masks = torch.empty_like(self._normals, dtype=like.dtype)
        self._keep_rates = torch.empty_like(self._masks)
        self._masks_by_name = {
            f"{name}.mask": mask for name, mask in by_name(self._masks, epoch.dropped).items()
        }
        self._on_weights = _table(self._moved, epoch.on_weights)
        self._on_activations = _table(self._normals, epoch.on_activations)
        self._on_gradients = _table(self._gradients, epoch.on_gradients)
        # by the GPU's kernel, or else member by member
        self._on_preconditioned: NoiseTable | None = None
        self._preconditioned: list[tuple[StackedRun, NoiseProcess, torch.Tensor, torch.Tensor]] = []
        if epoch.on_preconditioned and backends.is_on_gpu(self._gradients):
            self._mean_squares = torch.zeros_like(self.weights, dtype=torch.float32)
            self._on_preconditioned = NoiseTable(
                self._gradients, epoch.on_preconditioned, self._mean_squares
            )
        tables = (self._on_weights, self._on_activations, self._on_gradients)
        is_noise_there = bool(self._on_preconditioned or not epoch.preconditioned) and all(
            table is None or table.is_capturable for table in tables
        )
        is_wanted = may_capture and graphs.are_supported(self._device)
        self._is_capturable = is_wanted and is_noise_there
        self._graph: torch.cuda.CUDAGraph | None = None
        self.eager = NOISE_ELSEWHERE if is_wanted and not is_noise_there else ""
        self.counter = torch.zeros(1, dtype=torch.int64, device=self._device)

    @property
    def is_captured(self) -> bool:
        """Whether updates are replayed from a CUDA graph."""
        return self._graph is not None

    @torch.no_grad()
    def train(self, epoch: StackedEpoch) -> list[Mapping[str, float] | None]:
        """Train the runs by an epoch and return the values of each; None for a non-finite run."""
        self.start(epoch)
        for i in range(epoch.n_steps):
            self.update(i)
            beat()
        return self.finish(epoch)

    @torch.no_grad()
    def finish(self, epoch: StackedEpoch) -> list[Mapping[str, float] | None]:
        """Return the values of the runs after the last update, and copy their states back."""
        is_finite, losses, norms, metrics = self.read()
        n, last = len(epoch.members), epoch.n_steps - 1
        for kept, state in self._states(epoch.members):
            torch._foreach_copy_(list(state), list(kept[:n].unbind()))
        values: list[Mapping[str, float] | None] = []
        for k, run in enumerate(epoch.members):
            ratio = noise_to_gradient(
                run.contribution.gradient, run.t + last, run.weights.numel(), norms[k]
            )
            found = {"train_loss": losses[k]} | ratio | metrics[k]
            values.append(
                found if is_finite[k] and all(map(math.isfinite, found.values())) else None
            )
            run.t += epoch.n_steps
            run.epoch += 1
        for run, _, _, preconditioned in self._preconditioned:
            run.preconditioner_state.copy_(preconditioned)
        if self._on_preconditioned:
            torch._foreach_copy_(*self._preconditioner_states(epoch))
        return values

    def read(self) -> tuple[list[bool], list[float], list[float], list[dict[str, float]]]:
        """Return what the host reads from the device after the last update, row by row: whether the
        weights are finite, the mean loss, the norm of the last gradient, and the metrics.
        """
        return (
            self.weights.isfinite().all(dim=1).tolist(),
            self.losses.mean(1).tolist(),
            self._norms.tolist(),
            self._measure(),
        )

    def start(self, epoch: StackedEpoch) -> None:
        """Copy in the runs and what their updates need.

        `update(0)`, `update(1)`, ... then train the epoch.

        Raises:
            CaptureError: If the capture of an update broke off.
        """
        if self._is_capturable and self._graph is None:
            self._load(epoch)
            try:
                self._graph = graphs.captured(self._counted, self.counter.zero_, self._device)
            except graphs.NotCapturableError as error:
                self.eager, self._is_capturable = f"{error}", False
        self._load(epoch)

    def update(self, i: int) -> None:
        """Make update i of the epoch."""
        if self._graph is None:
            self.step(i)
        else:
            self._graph.replay()

    @torch.no_grad()
    def _load(self, epoch: StackedEpoch) -> None:
        runs = epoch.runs
        for kept, state in self._states(runs):
            torch._foreach_copy_(list(kept.unbind()), list(state))
        quantiles = by_name(self._quantiles, epoch.dropped)
        keep_rates = by_name(self._keep_rates, epoch.dropped)
        for name, shape in epoch.dropped.items():
            rates = torch.tensor(
                [run.dropped[name][0] if name in run.dropped else 0.0 for run in runs],
                dtype=torch.float64,
            ).view(-1, *[1] * len(shape))
            quantiles[name].copy_(torch.special.ndtri(rates))
            keep_rates[name].copy_(1 - rates)
        self._functions.load(runs)
        for name, column in self._hyper.items():
            factors = [run.setup.lr_factor(run.epoch) if name == "lr" else 1.0 for run in runs]
            _fill(
                column,
                [run.hyper[name] * factor for run, factor in zip(runs, factors, strict=True)],
            )
        if self._rates is not None and epoch.rates is not None:
            self._rates.copy_(epoch.rates)
        for name, column in self._clips.items():
            _fill(column, [getattr(run, name) for run in runs])
        _fill(self._steps_before, [run.t for run in runs])
        self._load_order(epoch.members)
        for table, terms in (
            (self._on_weights, epoch.on_weights),
            (self._on_activations, epoch.on_activations),
            (self._on_gradients, epoch.on_gradients),
            (self._on_preconditioned, epoch.on_preconditioned),
        ):
            if table and terms:
                table.load(terms)
        if self._on_preconditioned:
            states, rows_of_states = self._preconditioner_states(epoch)
            torch._foreach_copy_(rows_of_states, states)
        else:
            self._preconditioned = [
                (run, process, self._gradients[k], run.preconditioner_state.clone())
                for k, run, process in epoch.preconditioned
            ]
        self.counter.zero_()

    def _preconditioner_states(
        self, epoch: StackedEpoch
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return the mean squares of the members that have some, and their rows on the device."""
        return (
            [run.preconditioner_state for _, run, _ in epoch.preconditioned],
            [self._mean_squares[k] for k, _, _ in epoch.preconditioned],
        )

    def _load_order(self, members: Sequence[StackedRun]) -> None:
        """Copy in the order of each member, and on a device start to make the next orders.

        While the device trains, this machine has time for them.
        """
        if self._is_ahead:
            make_ahead((run.order, run.epoch) for run in members)
        orders = [run.order.of(run.epoch) for run in members]
        n = len(orders)
        torch._foreach_copy_(list(self._order[:n].unbind()), orders, non_blocking=True)
        self._order[n:].copy_(self._order[:1].expand_as(self._order[n:]))
        if self._is_ahead:
            make_ahead(
                (run.order, run.epoch + 1)
                for run in members
                if run.epoch + 1 < run.spec.budget_epochs
            )

    def _states(
        self, runs: Sequence[StackedRun]
    ) -> Iterator[tuple[torch.Tensor, Sequence[torch.Tensor]]]:
        """Yield each buffer of the members' states with what holds it in the runs."""
        yield self.weights, [run.weights for run in runs]
        yield from zip(
            self._moments, zip(*(run.moments.unbind() for run in runs), strict=True), strict=True
        )
        for name, buffer in self._buffers.items():
            yield buffer, [run.buffers[name] for run in runs]
        for k, kept in enumerate(self._functions.kept):
            for name, tensor in kept.items():
                yield tensor, [run.kept[k][name] for run in runs]

    def _counted(self) -> None:
        self.step(self.counter)

    @torch.no_grad()
    def step(self, i: Update) -> None:
        """Make update i operation by operation; with `counter`, count it up."""
        if isinstance(i, int):
            rows = self._order[:, i].reshape(-1)
        else:
            rows = self._order.index_select(1, i).view(-1)
        for part, examples in zip(self._first.data.train, self._examples, strict=True):
            torch.index_select(part, 0, rows, out=examples)
        if self._moved is not self.weights:
            self._moved.copy_(self.weights)
        if self._on_weights:
            self._on_weights.add_(i)
        if self._on_activations:
            self._normals.zero_()
            self._on_activations.add_(i)
            self._masks.copy_(self._normals > self._quantiles).div_(self._keep_rates)
        t = self._steps_before[:, 0]
        losses = self._take_gradients(self._buffers)
        if self._functions.perturbs:
            self._functions.perturb(self._gradients_by_name, self._moved_by_name, t)
            # the second pass must not count in statistics such as BatchNorm's
            self._take_gradients({name: buffer.clone() for name, buffer in self._buffers.items()})
        self._functions.transform(self._gradients_by_name, self._by_name, t)
        self._clip()
        if i is self.counter or i == self._n_steps - 1:
            torch.linalg.vector_norm(self._gradients, dim=1, out=self._norms)
        for run, process, gradient, state in self._preconditioned:
            _add_preconditioned(run, process, gradient, state, run.t + int(i))
        if self._on_preconditioned:
            self._on_preconditioned.add_(i)
        if self._on_gradients:
            self._on_gradients.add_(i)
        if self._rates is not None:
            self._hyper["lr"].copy_(pick(self._rates, i).view(-1, 1))
        for weights, gradients, moments in self._updated:
            self._rule(weights, gradients, moments, self._hyper, self._steps_before)
        self._functions.average(self._by_name, self._buffers, t)
        self._steps_before += 1
        if isinstance(i, int):
            self.losses[:, i] = losses
        else:
            self.losses.index_copy_(1, i, losses[:, None].to(self.losses.dtype))
            i += 1

    def _take_gradients(self, buffers: Tensors) -> torch.Tensor:
        """Set the gradients at the moved weights and return the losses, [members]."""
        return self._gradient(
            self._moved_by_name,
            {**buffers, **self._masks_by_name},
            self._batch,
            self._gradients_by_name,
        )

    def _clip(self) -> None:
        if "clip_value" in self._clips:
            limit = self._clips["clip_value"]
            torch.clamp(self._gradients, min=-limit, max=limit, out=self._gradients)
        if "clip_norm" in self._clips:
            limit = self._clips["clip_norm"]
            norms = torch.linalg.vector_norm(self._gradients, dim=1, keepdim=True)
            factor = (limit / (norms + 1e-6)).clamp_(max=1)
            # without a limit the factor is 1 even if the norm overflows
            self._gradients.mul_(factor.masked_fill_(limit == math.inf, 1.0))

    def _measure(self) -> list[dict[str, float]]:
        """Return the metrics of every member by split and name."""
        first, n = self._first, len(self.weights)
        # limited so that the activations fit the caches
        at_once = MEASURED_AT_ONCE if self.weights.is_cuda else MEASURED_AT_ONCE_ON_CPU
        evaluated = first.setup.optimizer.evaluated
        weights, buffers = self._functions.evaluated(
            by_name(evaluated(self.weights, self._moments, self._hyper), first.shapes)
            if evaluated
            else self._by_name,
            self._buffers,
        )
        columns: dict[str, list[torch.Tensor]] = {}
        with evaluating(first.model):
            for split in splits_measured(first.spec):
                batch: Batch = getattr(first.data, split)
                for k in range(0, n, at_once):
                    some = slice(k, k + at_once)
                    for name, column in self._metrics(
                        rows(weights, some), rows(buffers, some), batch
                    ).items():
                        columns.setdefault(f"{split}_{name}", []).append(column.double())
        found = torch.stack([torch.cat(parts) for parts in columns.values()])
        return [dict(zip(columns, values, strict=True)) for values in found.T.tolist()]


def _table(rows: torch.Tensor, terms: NoiseTerms | None) -> NoiseTable | None:
    return None if terms is None else NoiseTable(rows, terms)


def _fill(column: torch.Tensor, values: Sequence[float]) -> None:
    column.copy_(torch.tensor(values, dtype=torch.float64)[:, None])


def _add_preconditioned(
    run: StackedRun, process: NoiseProcess, gradient: torch.Tensor, state: torch.Tensor, t: int
) -> None:
    preconditioner = process.preconditioner
    assert preconditioner is not None
    sizes = [shape.numel() for shape in run.shapes.values()]
    preconditioner.update_(state, gradient)
    scales = torch.split(preconditioner.scale(state), sizes)
    for drawn, std in process.terms(t):
        run.gradient_noise.add_(torch.split(gradient, sizes), drawn, std, scales)
