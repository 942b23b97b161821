"""Calibration: how many trials train fastest as one model.

It is measured with a trial of the study before the study starts, because the optimum depends on
model and hardware.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from gradnoise.training import device
from gradnoise.training.epochs import epoch_order, first_batch
from gradnoise.training.memory import free_bytes, peak_bytes, reset_peak
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
    """

    slots: int
    steps_per_second: float
    bytes_per_slot: int
    refusal: str = ""


def candidates(*, on_gpu: bool) -> tuple[int, ...]:
    """Return the numbers of slots that are worth measuring, from 1 upwards."""
    return ON_GPU if on_gpu else ON_CPU


class Measurer:
    """Trains copies of a trial in this process, for a short time at each measurement.

    Copies made for one number of slots are used again for the next.

    Args:
        spec: The trial.

    Raises:
        ValueError: If it is illegal.

    Attributes:
        spec: The trial.
    """

    def __init__(self, spec: TrialSpec) -> None:
        self.spec, self._setup, self._device = spec, prepare(spec), device()
        self._single: Callable[[], None] | None = None
        self._refusal: str | None = None
        self._opener = StackedRuns(self._device)
        self._runs: list[StackedRun] = []

    def measure(self, slots: int, seconds: float = 0.15) -> Rate:
        """Train copies of the trial with different seeds, and return their rate.

        Args:
            slots: The number of copies; at least 1. Several copies train as one model.
            seconds: Time to measure for, without the start; above 0. At least one update is
                measured.

        Raises:
            MemoryError, torch.OutOfMemoryError: If they do not fit into memory.
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
            self._single = self._single or _single_update(self._setup, workload, self._device)
            reason = self._refusal if slots > 1 and self._refusal else ""
            return self._rate(self._single, 1, seconds, refusal=reason)
        self._runs += [self._run(workload, k) for k in range(len(self._runs), slots)]
        runs = self._runs[:slots]
        update = _stacked_update(runs, self._device)
        return self._rate(update, slots, seconds, least_bytes=_least_bytes(runs[0]))

    def _run(self, workload: Workload, k: int) -> StackedRun:
        spec = dataclasses.replace(self.spec, seed=self.spec.seed + k)
        return self._opener.open(prepare(spec), workload)

    def _rate(
        self,
        update: Callable[[], None],
        slots: int,
        seconds: float,
        *,
        refusal: str = "",
        least_bytes: int = 0,
    ) -> Rate:
        """Time updates of a number of trials.

        The time is the thread's CPU time, which excludes the share of other processes; on a GPU it
        is wall-clock time. Memory that the process had freed before does not raise its peak, so
        `least_bytes` is a lower bound of what each trial needs.
        """
        clock = time.perf_counter if self._device.type == "cuda" else time.thread_time
        before = reset_peak(self._device)
        for _ in range(WARM_UP_STEPS):
            update()
        _await(self._device)
        start, n_updates = clock(), 0
        while n_updates == 0 or clock() < start + seconds:
            update()
            n_updates += 1
        _await(self._device)
        return Rate(
            slots=slots,
            steps_per_second=n_updates * slots / (clock() - start),
            bytes_per_slot=max((peak_bytes(self._device) - before) // slots, least_bytes),
            refusal=refusal,
        )


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


def _single_update(setup: Setup, workload: Workload, where: torch.device) -> Callable[[], None]:
    run = SingleRun(setup, workload, where)

    def updates() -> Iterator[None]:
        while True:
            for rows in epoch_order(workload, setup.spec, 0):
                run.step(rows)
                yield

    return updates().__next__


def _stacked_update(runs: Sequence[StackedRun], where: torch.device) -> Callable[[], None]:
    def updates() -> Iterator[None]:
        epoch = StackedEpoch(runs, max(len(runs), rows_for(len(runs), where)))
        model = StackedModel(epoch)
        while True:
            model.start(epoch)
            for i in range(epoch.n_steps):
                model.update(i)
                yield

    return updates().__next__


def _least_bytes(run: StackedRun) -> int:
    """Return a lower bound of the memory of a trial in a stack.

    It is the size of the trial's state, of its row of the stack's buffers with the gradient, and of
    its batch.
    """
    state = 2 * (run.weights.nbytes + run.moments.nbytes) + run.weights.nbytes
    return int(state + sum(part.nbytes for part in first_batch(run.workload, run.data)))


def _await(where: torch.device) -> None:
    if where.type == "cuda":
        torch.cuda.synchronize()
