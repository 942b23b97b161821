"""How many trials train best as one model: measured with a study's own trial before it starts, for
no rule knows a model and a machine.
"""

import contextlib
import dataclasses
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from gradnoise.training import device
from gradnoise.training.setup import Setup, prepare
from gradnoise.training.single import SingleRun, epoch_order, first_batch
from gradnoise.training.stack import MOST_ON_CPU, rows_for
from gradnoise.training.stacked_model import StackedEpoch, StackedModel
from gradnoise.training.stacked_run import StackedRun, refusal
from gradnoise.training.trial import TrialSpec
from gradnoise.workloads.base import Workload

ON_CPU = (1, 2, 4, 8, 16, MOST_ON_CPU)
ON_GPU = (1, 4, 16, 64, 128, 256, 512, 1024)
TOLERANCE = 0.05  # of the highest rate: fewer slots drain sooner
GIVE_UP_BELOW = 0.8  # of the highest rate: more slots are not tried
CONTENDS_FROM = (0.75, 0.9)  # of the highest rate: such numbers are measured again, and then again
MARGIN = 0.8  # of the free memory
WARM_UP_STEPS = 2


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How fast trials train in so many slots.

    Args:
        slots: Trials that trained together.
        steps_per_second: Updates a second, of all together; 0 where it was not measured.
        bytes_per_slot: Memory that each needed.
        refusal: Why they cannot train as one model, in a sentence; the rate is then that of one.
            Empty if they can.
    """

    slots: int
    steps_per_second: float
    bytes_per_slot: int
    refusal: str = ""


def candidates(*, on_gpu: bool) -> tuple[int, ...]:
    """Return the numbers of slots that are worth measuring, from 1 upwards."""
    return ON_GPU if on_gpu else ON_CPU


class Measurer:
    """Trains copies of a trial in this process, a moment each time; copies that were made for one
    number of slots serve the next too.

    Args:
        spec: The trial.

    Raises:
        ValueError: If it is illegal.

    Attributes:
        spec: The trial.
    """

    def __init__(self, spec: TrialSpec) -> None:
        self.spec, self._setup, self._device = spec, prepare(spec), device()
        self._alone: Callable[[], None] | None = None
        self._refusal: str | None = None
        self._runs: list[StackedRun] = []

    def measure(self, slots: int, seconds: float = 0.15) -> Rate:
        """Train so many copies, of different seeds, for about so many seconds, and return their
        rate.

        Args:
            slots: How many; at least 1. One trains alone, more as one model.
            seconds: How long, beside what it takes to begin; above 0.

        Raises:
            MemoryError, torch.OutOfMemoryError: If so many do not fit into memory.
        """
        workload = self._setup.workload
        if not isinstance(workload, Workload):
            return Rate(
                slots=1,
                steps_per_second=0.0,
                bytes_per_slot=0,
                refusal="a training function has a loop of its own.",
            )
        if slots > 1 and self._refusal is None:
            self._refusal = (
                refusal(self._run(workload, 0)) if workload.stacks else "its workload says so."
            )
        if slots == 1 or self._refusal:
            self._alone = self._alone or _alone(self._setup, workload, self._device)
            return _measured(self._alone, 1, seconds, (self._refusal or "") if slots > 1 else "")
        self._runs += [self._run(workload, k) for k in range(len(self._runs), slots)]
        runs = self._runs[:slots]
        return _measured(
            _together(runs, self._device), slots, seconds, least_bytes=_least_bytes(runs[0])
        )

    def _run(self, workload: Workload, k: int) -> StackedRun:
        return StackedRun(
            prepare(dataclasses.replace(self.spec, seed=self.spec.seed + k)), workload, self._device
        )


def explore(numbers: Iterable[int], measure: Callable[[int, Rate | None], Rate]) -> Iterator[Rate]:
    """Find out which numbers of slots are fast, and yield what is known of each whenever it is
    known better.

    First ever more slots, while memory holds them, until two in a row are slower, and are so again;
    then those that may be best, and one, again in turn; then those that still may. Of each the
    highest rate counts: whatever else the machine does makes a measurement slower, never faster.

    Args:
        numbers: The numbers of slots, from 1 upwards.
        measure: From a number, and the rate of the number before, to its rate; raises MemoryError
            if so many do not fit.
    """
    rates: list[Rate] = []

    def highest() -> float:
        return max(one.steps_per_second for one in rates)

    def again(which: Iterable[int]) -> Iterator[Rate]:
        for i in which:
            try:
                rate = measure(rates[i].slots, rates[i])
            except MemoryError:  # it has fitted before: what is known of it stands
                continue
            if rate.steps_per_second > rates[i].steps_per_second:
                rates[i] = rate
                yield rate

    def lags() -> bool:
        return all(one.steps_per_second < GIVE_UP_BELOW * highest() for one in rates[-2:])

    for slots in numbers:
        try:
            rate = measure(slots, rates[-1] if rates else None)
        except MemoryError:
            break
        yield rate
        if rate.refusal:
            return
        rates.append(rate)
        if lags():
            yield from again((len(rates) - 2, len(rates) - 1))
            if lags():
                break
    for share in CONTENDS_FROM if len(rates) > 1 else ():
        least = share * highest()
        yield from again(
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


def fits(rate: Rate, slots: int, n_processes: int = 1) -> bool:
    """Return whether so many slots, in each of so many processes on this device, would fit into
    four fifths of its free memory.
    """
    return rate.bytes_per_slot * slots * n_processes <= MARGIN * free_bytes()


def free_bytes() -> int:
    """Return the free memory of the device, or of this machine or container."""
    if device().type == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    found = [_kibibytes("/proc/meminfo", "MemAvailable")]
    group = Path("/sys/fs/cgroup")
    limit, used = (_text(group / name).strip() for name in ("memory.max", "memory.current"))
    if limit.isdigit() and used.isdigit():
        found.append(int(limit) - int(used))
    known = [one for one in found if one is not None]
    return min(known) if known else 2**62


def _alone(setup: Setup, workload: Workload, where: torch.device) -> Callable[[], None]:
    run = SingleRun(setup, workload, where)

    def updates() -> Iterator[None]:
        while True:
            for rows in epoch_order(workload, setup.spec.seed, 0):
                run.step(rows)
                yield

    return updates().__next__


def _together(runs: Sequence[StackedRun], where: torch.device) -> Callable[[], None]:
    def updates() -> Iterator[None]:
        epoch = StackedEpoch(runs, max(len(runs), rows_for(len(runs), where)))
        model = StackedModel(epoch)
        while True:
            model.start(epoch)
            for i in range(epoch.n_steps):
                model.update(i)
                yield

    return updates().__next__


def _measured(
    update: Callable[[], None], slots: int, seconds: float, refusal: str = "", least_bytes: int = 0
) -> Rate:
    """Time updates of so many trials; what the process had freed before does not show in its peak,
    so the least that they need is given.

    On a CPU by the time that this thread had of it: what other processes have of it in between
        would be taken for the trials' own.
    """
    clock = time.perf_counter if torch.cuda.is_available() else time.thread_time
    before = _reset_peak()
    for _ in range(WARM_UP_STEPS):
        update()
    _await_device()
    start, n = clock(), 0
    while n == 0 or clock() < start + seconds:
        update()
        n += 1
    _await_device()
    per_second = n * slots / (clock() - start)
    n_bytes = max((_peak() - before) // slots, least_bytes)
    return Rate(slots=slots, steps_per_second=per_second, bytes_per_slot=n_bytes, refusal=refusal)


def _least_bytes(run: StackedRun) -> int:
    """Return what one trial's own state, its row of the stack's buffers with the gradient, and its
    batch take.
    """
    state = 2 * (run.weights.nbytes + run.moments.nbytes) + run.weights.nbytes
    return int(state + sum(part.nbytes for part in first_batch(run.workload, run.data)))


def _await_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _reset_peak() -> int:
    """Return the bytes in use, and let the peak start there."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return int(torch.cuda.memory_allocated())
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _kibibytes("/proc/self/status", "VmRSS") or 0


def _peak() -> int:
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return _kibibytes("/proc/self/status", "VmHWM") or 0


def _kibibytes(path: str, name: str) -> int | None:
    """Return an entry of one of Linux's tables of memory, in bytes."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", _text(Path(path)), re.MULTILINE)
    return None if found is None else 1024 * int(found[1])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
