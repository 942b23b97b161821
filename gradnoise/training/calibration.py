"""Calibration: how many trials train fastest as one model.

It is measured with a trial of the study before the study starts, because the optimum depends on
model and hardware.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from gradnoise.training import device
from gradnoise.training.clock import clock_of
from gradnoise.training.epochs import Order, epoch_steps, first_batch
from gradnoise.training.memory import free_bytes, peak_bytes, reset_peak
from gradnoise.training.precision import exact_float32
from gradnoise.training.setup import Setup, prepare
from gradnoise.training.single import SingleRun
from gradnoise.training.stack import MOST_ON_CPU, rows_for
from gradnoise.training.stack_check import declared_refusal, refusal
from gradnoise.training.stacked_epoch import StackedEpoch
from gradnoise.training.stacked_model import StackedModel
from gradnoise.training.stacked_run import StackedRun
from gradnoise.training.templates import StackedRuns
from gradnoise.training.trial import TrialSpec
from gradnoise.workloads.base import Workload

ON_CPU = (1, 2, 4, 8, 16, MOST_ON_CPU)
ON_GPU = (1, 4, 16, 64, 128, 256, 512, 1024)
TOLERANCE = 0.05  # of the highest rate: fewer slots leave fewer idle at the end of a phase
GIVE_UP_BELOW = 0.8  # of the highest rate: larger numbers are not tried
REMEASURED_FROM = (0.75, 0.9)  # of the highest rate: the numbers that each further round measures
MARGIN = 0.8  # of the free memory
WARM_UP_STEPS = 2


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How fast trials train in a number of slots.

    Args:
        slots: Trials that trained together.
        steps_per_second: Updates per second, of all together; 0 if it was not measured.
        bytes_per_slot: Memory that each needed.
        refusal: The reason why they cannot train as one model, a sentence; the rate is then that of
            one trial. Empty if they can.
        eager: The reason why their updates are not captured as a CUDA graph, a sentence; empty if
            they are, or train on a CPU.
    """

    slots: int
    steps_per_second: float
    bytes_per_slot: int
    refusal: str = ""
    eager: str = ""


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """The memory of a number of slots without the data, in bytes.

    Args:
        slots: Trials that trained together.
        estimated: What the measurement of the number before predicts.
        real: What they took.
    """

    slots: int
    estimated: int
    real: int


def candidates(*, on_gpu: bool) -> tuple[int, ...]:
    """Return the numbers of slots that are worth measuring, from 1 upwards."""
    return ON_GPU if on_gpu else ON_CPU


class Measurer:
    """Trains copies of a trial in this process, for a short time at each measurement.

    Copies made for one number of slots are used again for the next.

    Args:
        spec: The trial.
        eager: Why no update is to be captured as a CUDA graph, a sentence; empty: each is where
            that is possible.

    Raises:
        ValueError: If it is illegal.

    Attributes:
        spec: The trial.
    """

    def __init__(self, spec: TrialSpec, eager: str = "") -> None:
        self.spec, self._setup, self._device = spec, prepare(spec), device()
        self._eager = eager
        self._counts_epochs = self._device.type != "cpu"
        self._single: _Single | None = None
        self._refusal: str | None = None
        self._opener = StackedRuns(self._device)
        self._runs: list[StackedRun] = []

    @exact_float32()
    def measure(self, slots: int, seconds: float = 0.15) -> Rate:
        """Train copies of the trial with different seeds, and return their rate.

        On a GPU the rate is that of whole epochs: the time of the updates that were measured
        stands for all, and what comes before and after them is measured once.

        Args:
            slots: The number of copies; at least 1. Several copies train as one model.
            seconds: Time to measure for, without the start; above 0. At least one update is
                measured.

        Raises:
            MemoryError, torch.OutOfMemoryError: If they do not fit into memory.
            CaptureError: If the capture of an update broke off.
        """
        workload = self._setup.workload
        if not isinstance(workload, Workload):
            return Rate(
                slots=1,
                steps_per_second=0.0,
                bytes_per_slot=0,
                refusal="a training function writes its own loop.",
            )
        if slots > 1 and self._refusal is None:
            self._refusal = declared_refusal(self._setup, workload) or refusal(
                self._run(workload, 0)
            )
        if slots == 1 or self._refusal:
            self._single = self._single or _Single(self._setup, workload, self._device)
            rate = self._rate(self._single, 1, seconds)
            reason = self._refusal if slots > 1 and self._refusal else ""
            return dataclasses.replace(rate, refusal=reason)
        self._runs += [self._run(workload, k) for k in range(len(self._runs), slots)]
        stack = _Stack(self._runs[:slots], self._device, may_capture=not self._eager)
        rate = self._rate(stack, slots, seconds)
        return dataclasses.replace(
            rate,
            bytes_per_slot=max(
                rate.bytes_per_slot + _state_bytes(self._runs[0]), _least_bytes(self._runs[0])
            ),
            eager=self._eager or stack.model.eager,
        )

    def _run(self, workload: Workload, k: int) -> StackedRun:
        spec = dataclasses.replace(self.spec, seed=self.spec.seed + k)
        return self._opener.open(prepare(spec), workload)

    def _rate(self, side: "_Single | _Stack", slots: int, seconds: float) -> Rate:
        """Time a number of trials.

        The bytes are those that the trials took in addition to their states.
        """
        clock = clock_of(self._device)

        def timed(function: Callable[[], None]) -> float:
            start = clock()
            function()
            _await(self._device)
            return clock() - start

        before = reset_peak(self._device)
        side.start()
        for _ in range(WARM_UP_STEPS):
            side.update()
        if self._counts_epochs:
            side.finish()
            side.await_order()
        _await(self._device)
        around = timed(side.start) if self._counts_epochs else 0.0
        start, n_updates = clock(), 0
        while n_updates == 0 or clock() < start + seconds:
            side.update()
            n_updates += 1
        _await(self._device)
        of_update = (clock() - start) / n_updates
        around += timed(side.finish) if self._counts_epochs else 0.0
        return Rate(
            slots=slots,
            steps_per_second=slots / (of_update + around / side.n_steps),
            bytes_per_slot=(peak_bytes(self._device) - before) // slots,
        )


def estimates(spec: TrialSpec, numbers: Iterable[int]) -> Iterator[MemoryEstimate]:
    """Measure numbers of slots, and yield what each but the first was estimated to need.

    The estimate is the one by which a study decides whether to measure a number.

    Args:
        spec: The trial.
        numbers: Ascending numbers of slots.
    """
    measurer, before, at_first = Measurer(spec), None, 0
    for slots in numbers:
        rate = measurer.measure(slots, seconds=0.0)
        if before is None:
            at_first = reset_peak(device())  # with the data
        else:
            real = peak_bytes(device()) - at_first
            estimated = before.bytes_per_slot * slots
            yield MemoryEstimate(slots=slots, estimated=estimated, real=real)
        before = rate


def explore(numbers: Iterable[int], measure: Callable[[int, Rate | None], Rate]) -> Iterator[Rate]:
    """Measure numbers of slots until the fastest is known; yield each new or improved rate.

    The first round measures larger and larger numbers, until memory runs out or two numbers in a
    row are slow, also when remeasured. Each further round remeasures 1 and the numbers whose rate
    is near the highest. The highest rate of a number counts: other load on the machine makes a
    measurement slower, never faster.

    Args:
        numbers: The numbers of slots, from 1 upwards.
        measure: From a number, and the rate of the number before, to its rate; raises MemoryError
            if the trials do not fit.
    """
    rates: list[Rate] = []

    def highest() -> float:
        return max(rate.steps_per_second for rate in rates)

    def remeasured(indices: Iterable[int]) -> Iterator[Rate]:
        for i in indices:
            try:
                rate = measure(rates[i].slots, rates[i])
            except MemoryError:  # the trials fitted before, so their known rate is kept
                continue
            if rate.steps_per_second > rates[i].steps_per_second:
                rates[i] = rate
                yield rate

    def is_slow() -> bool:
        return all(rate.steps_per_second < GIVE_UP_BELOW * highest() for rate in rates[-2:])

    for slots in numbers:
        try:
            rate = measure(slots, rates[-1] if rates else None)
        except MemoryError:
            break
        yield rate
        if rate.refusal:
            return
        rates.append(rate)
        if is_slow():
            yield from remeasured((len(rates) - 2, len(rates) - 1))
            if is_slow():
                break
    for share in REMEASURED_FROM if len(rates) > 1 else ():
        least = share * highest()
        yield from remeasured(
            [i for i, rate in enumerate(rates) if i == 0 or rate.steps_per_second >= least]
        )


def best(rates: Iterable[Rate]) -> Rate:
    """Return the fewest slots whose rate is within 5 % of the highest."""
    rates = list(rates)
    highest = max(rate.steps_per_second for rate in rates)
    return min(
        (rate for rate in rates if rate.steps_per_second >= (1 - TOLERANCE) * highest),
        key=lambda rate: rate.slots,
    )


def fits(rate: Rate, slots: int, n_shares: int = 1) -> bool:
    """Return whether so many slots fit into one of several equal shares of the device's memory.

    They fit if they need at most four fifths of their share of the free memory.
    """
    return rate.bytes_per_slot * slots * n_shares <= MARGIN * free_bytes(device())


class _Single:
    """Epochs of one trial as a separate model."""

    def __init__(self, setup: Setup, workload: Workload, where: torch.device) -> None:
        self._run, self._order = SingleRun(setup, workload, where), Order(workload, setup.spec)
        self.n_steps = epoch_steps(workload, setup.spec)
        self._where, self._epoch = where, -1

    def start(self) -> None:
        self._epoch += 1
        order = self._order.of(self._epoch).to(self._where, torch.int64)
        self._rows = itertools.cycle(order)

    def update(self) -> None:
        self._run.step(next(self._rows))

    def finish(self) -> None:
        self._run.evaluate()

    def await_order(self) -> None:
        """Return at once: a separate model makes its order when an epoch starts."""


class _Stack:
    """Epochs of trials that train as one model."""

    def __init__(
        self, runs: Sequence[StackedRun], where: torch.device, *, may_capture: bool
    ) -> None:
        self._runs, self._n_rows = runs, max(len(runs), rows_for(len(runs), where))
        self._epoch = StackedEpoch(runs, self._n_rows)
        self.model = StackedModel(self._epoch, may_capture=may_capture)
        self.n_steps, self._i = self._epoch.n_steps, 0

    def start(self) -> None:
        self._epoch, self._i = StackedEpoch(self._runs, self._n_rows), 0
        self.model.start(self._epoch)

    def update(self) -> None:
        if self._i == self.n_steps:  # the same updates again
            self.model.counter.zero_()
            self._i = 0
        self.model.update(self._i)
        self._i += 1

    def finish(self) -> None:
        self.model.finish(self._epoch)

    def await_order(self) -> None:
        """Wait for the next orders, which are made while a GPU trains a whole epoch."""
        for run in self._runs:
            run.order.of(run.epoch)


def _state_bytes(run: StackedRun) -> int:
    """Return the size of a trial's state between epochs."""
    kept = [tensor for tensors in run.kept for tensor in tensors.values()]
    parts = [run.weights, run.moments, run.preconditioner_state, *run.buffers.values(), *kept]
    return sum(part.nbytes for part in parts)


def _least_bytes(run: StackedRun) -> int:
    """Return a lower bound of the memory of a trial in a stack.

    It is the size of the trial's state, of its row of the stack's buffers with the gradient, and of
    its batch. Memory that the process had freed before does not raise its peak.
    """
    state = 2 * (run.weights.nbytes + run.moments.nbytes) + run.weights.nbytes
    return int(state + sum(part.nbytes for part in first_batch(run.workload, run.data)))


def _await(where: torch.device) -> None:
    if where.type == "cuda":
        torch.cuda.synchronize()
