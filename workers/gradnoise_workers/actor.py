"""TrialActor: the Ray actor that trains trials on one device."""

import contextlib
import gc
import os
import platform
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import structlog

from gradnoise.training import device
from gradnoise.training.calibration import Rate
from gradnoise.training.checkpoint import Checkpoints
from gradnoise.training.files import Files
from gradnoise.training.gpus import Gpu, device_fault, first_gpu, is_of_program
from gradnoise.training.rehearsal import Rehearsal
from gradnoise.training.trial import Event, Failed, Finished, Measurement, TrialSpec
from gradnoise_service.domain.source import Source
from gradnoise_workers.cluster import Location
from gradnoise_workers.worker import printed_beside

log = structlog.get_logger()

SLICE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Slice:
    """What happened in a slice of training.

    Args:
        events: The events.
        broken: Why the process can train no longer, so that it must be replaced; empty if it can.
            Trials without an ending among the events are lost.
        lost_gpu: Whether the GPU is the cause, not a program that ran on it.
    """

    events: Sequence[Event]
    broken: str = ""
    lost_gpu: bool = False


class TrialActor:
    """Trains trials on one device, in slices of time; each slice is one message each way.

    Args:
        on_gpu: Whether the device is a GPU, else it is a core, and the process sees no GPU.
        checkpoints: Where trials store their state; None: nowhere.
        source: The code of the study's workload; None for an installed workload. It is imported
            before the first trial, once, and stays imported: an actor serves one study.
        files: Where trials keep files; None: nowhere.
        eager: Why updates are not captured as CUDA graphs, as in an actor where that broke off;
            empty: they are, where that is possible.
        trace: The file of its trace; what code in C prints goes to a file beside it. None: nowhere.
    """

    def __init__(
        self,
        on_gpu: bool,
        checkpoints: Checkpoints | None,
        source: Source | None = None,
        files: Files | None = None,
        eager: str = "",
        trace: Path | None = None,
    ) -> None:
        if not on_gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray shows every GPU to an actor without one
        import torch

        from gradnoise.training.output import watch_streams

        watch_streams()
        if not on_gpu:
            torch.set_num_threads(1)
        self._trace = None if trace is None else _opened_trace(trace)
        self._on_gpu = on_gpu
        self._checkpoints, self._files = checkpoints, files
        self._source = source
        self._eager = eager
        self._opened = ExitStack()
        self._measurer: Any = None
        self._trainer: Any = None
        self._rungs: dict[str, tuple[int, ...]] = {}

    def locate(self) -> Location:
        """Return where the actor runs; answers once the actor has started."""
        context = ray.get_runtime_context()
        node = context.get_node_id()
        if not self._on_gpu:
            return Location(node=node, device=_core_name())
        gpu = self._gpu()
        return Location(
            node=node,
            gpu=",".join(context.get_accelerator_ids()["GPU"]),
            device=gpu.name,
            uuid=gpu.uuid,
            free_bytes=gpu.free_bytes,
            fault=gpu.fault,
        )

    def import_source(self) -> str:
        """Import the study's source and return why this is impossible; empty if it is not."""
        from gradnoise_workers.source import SourceError

        try:
            self._open_source()
        except SourceError as error:
            return "\n".join(filter(None, (error.trace, f"{error.message} {error.hint}")))
        return ""

    def prepare(self, specs: Sequence[TrialSpec]) -> dict[str, Rehearsal]:
        """Rehearse each trial and return what it did by key.

        Raises:
            RuntimeError: If the GPU was lost: no trial is to blame.
        """
        from gradnoise.training.rehearsal import rehearse

        self._open_source()
        done = {spec.key: rehearse(spec) for spec in specs}
        if self._on_gpu and any(rehearsal.error for rehearsal in done.values()):
            fault = self._device_fault()
            if fault and not is_of_program(fault):
                raise RuntimeError(fault)
        return done

    def untrained(self, specs: Sequence[TrialSpec]) -> dict[str, dict[str, float]]:
        """Return the metrics of each trial before its first update, by key.

        Trials that raise are left out and logged: they raise again when they train.
        """
        from gradnoise.training.rehearsal import untrained

        self._open_source()
        found = {}
        for spec in specs:
            try:
                found[spec.key] = untrained(spec)
            except (Exception, SystemExit):
                log.warning("the untrained model was not measured", exc_info=True)
        return found

    def measure(
        self, probe: TrialSpec, slots: int, before: Rate | None, n_shares: int
    ) -> Rate | None:
        """Return the rate of copies of a trial in so many slots.

        None if they do not fit into one of so many equal shares of the free memory: one for each
        kind of stack in each process.
        """
        from gradnoise.training.calibration import Measurer, fits
        from gradnoise.training.graphs import CaptureError
        from gradnoise.training.memory import is_out_of_memory

        self._open_source()
        is_larger = before is not None and before.slots < slots
        if before is not None and is_larger and not fits(before, slots, n_shares):
            return None
        try:
            if self._measurer is None or self._measurer.spec != probe:
                self._measurer = Measurer(probe, self._eager)
            rate: Rate = self._measurer.measure(slots)
        except CaptureError:
            raise
        except Exception as error:
            self._measurer = None  # its copies take the memory
            if is_out_of_memory(error):
                return None
            raise
        return rate

    def advance(
        self,
        slots: int,
        admit: Sequence[TrialSpec],
        release: Sequence[str],
        resume: Sequence[str],
    ) -> Slice:
        """Execute the orders, then train until the slice ends or an event needs a decision."""
        if self._trainer is None:
            from gradnoise.training import open_trainer

            self._open_source()
            self._trainer = open_trainer(
                slots,
                self._checkpoints,
                files=self._files,
                eager=self._eager,
                trace=self._trace,
            )
            gc.collect()
            gc.freeze()  # what was imported needs no look when trials leave garbage
            self._measurer = None
        for key in release:
            self._trainer.release(key)
            self._rungs.pop(key, None)
        for spec in admit:
            self._rungs[spec.key] = spec.rungs
            self._trainer.admit(spec)
        events = self._train_slice(resume)
        for event in events:
            if isinstance(event, Finished | Failed):
                self._rungs.pop(event.key, None)
        has_failed = any(isinstance(event, Failed) for event in events)
        return checked(events, self._device_fault() if self._on_gpu and has_failed else "")

    def save(self) -> None:
        """Checkpoint every trial under way."""
        if self._trainer is not None:
            self._trainer.save()

    def close(self) -> None:
        """Forget the code of the study, in a process that goes on."""
        self._opened.close()

    def _gpu(self) -> Gpu:
        return first_gpu()

    def _device_fault(self) -> str:
        return device_fault(device())

    def _open_source(self) -> None:
        from gradnoise_workers.source import opened

        source, self._source = self._source, None
        if source is not None:
            self._opened.enter_context(opened(source))

    def _train_slice(self, resume: Sequence[str]) -> list[Event]:
        until = time.monotonic() + SLICE_SECONDS
        events: list[Event] = []
        while True:
            latest = self._trainer.advance(resume, max(0.0, until - time.monotonic()))
            events += latest
            resume = ()
            is_over = not latest or time.monotonic() >= until
            if is_over or any(self._needs_decision(event) for event in latest):
                return events

    def _needs_decision(self, event: Event) -> bool:
        if isinstance(event, Measurement):
            return event.epoch in self._rungs[event.key]
        return isinstance(event, Finished | Failed)


def checked(events: Sequence[Event], fault: str) -> Slice:
    """Return the events of a slice after which the device had a fault, or none.

    If the GPU is lost, the trials that failed are not to blame. Any other fault is that of a trial,
    which ends the process too: CUDA answers no further call in it.
    """
    if not fault:
        return Slice(events=events)
    if is_of_program(fault):
        return Slice(events=events, broken=fault)
    kept = [event for event in events if not isinstance(event, Failed)]
    return Slice(events=kept, broken=fault, lost_gpu=True)


def _opened_trace(path: Path) -> Any:
    """Return the trace at a path; None if it cannot be written."""
    from gradnoise.training.output import keep_descriptors
    from gradnoise.training.trace import Trace

    try:
        opened = Trace(path)
        keep_descriptors(printed_beside(path))
    except OSError:
        log.warning("the worker leaves no trace", exc_info=True)
        return None
    return opened


def _core_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"core of {line.partition(':')[2].strip()}"
    return f"core of {platform.processor() or platform.machine()}"
