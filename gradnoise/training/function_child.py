"""The process of a training function: runs it on its main thread, and reports to the trainer."""

import contextlib
import errno
import faulthandler
import functools
import importlib
import io
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import torch

from gradnoise.techniques.registry import TECHNIQUES
from gradnoise.training.faults import Fault
from gradnoise.training.files import MOST_FILES, Files, SavedFile
from gradnoise.training.randomness import Randomness
from gradnoise.training.setup import prepare
from gradnoise.training.single_functions import SingleFunctions
from gradnoise.training.trial import TrialSpec
from gradnoise.workloads.function import FunctionWorkload
from gradnoise.workloads.function_host import Kept
from gradnoise.workloads.function_trial import Trial
from gradnoise.workloads.registry import WORKLOADS

FULL_SECONDS, RETRY_SECONDS = 600.0, 2.0
"""How long a file waits for room on a full disk, and between two tries."""
STACK_SIGNAL = signal.SIGQUIT
"""On it, the process prints where each of its threads is."""


class ReleasedError(BaseException):
    """The trial was removed from its slot; raised in its function by `report`.

    It is not an Exception, so that no handler of the function catches it.
    """


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where training functions are found.

    Args:
        path: `sys.path`.
        module: The module that declares them, at its top level.
        bootstrap: Called before the module is imported, for modules that are no files; None: it can
            be imported.
    """

    path: Sequence[str]
    module: str
    bootstrap: Callable[[], None] | None = None

    def load(self) -> ModuleType:
        """Import the module."""
        sys.path[:] = self.path
        if self.bootstrap is not None:
            self.bootstrap()
        return importlib.import_module(self.module)

    def find(self, name: str) -> FunctionWorkload:
        """Return the training function of this name.

        Raises:
            LookupError: If the module declares none.
        """
        for declared in vars(self.load()).values():
            if isinstance(declared, FunctionWorkload) and declared.name == name:
                return declared
        raise LookupError(
            f"the module {self.module} declares no training function named {name!r} at its top "
            "level, where the process of a trial finds it."
        )


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a process is to run.

    Args:
        source: Where the function is found, a pickled Source.
        spec: The trial.
        environment: The environment variables.
        folder: The current folder.
        threads: Threads of torch's operations.
        checkpoint_seconds: Seconds from one checkpoint to the next; None: none is kept.
        kept: The checkpoint to continue from.
        files: Where it saves files; None: nowhere.
    """

    source: bytes
    spec: TrialSpec
    environment: Mapping[str, str]
    folder: str
    threads: int
    checkpoint_seconds: float | None
    kept: bytes | None
    files: Files | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """The values of an epoch, and what the function has done so far."""

    values: Mapping[str, float]
    conduct: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A state to continue from, as bytes that `torch.load` reads."""

    epoch: int
    kept: bytes


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The function has ended: by itself, or by a fault."""

    fault: Fault | None = None
    conduct: Mapping[str, Any] | None = None


class ProcessHost:
    """The trainer, at the other end of a connection."""

    def __init__(self, connection: Connection, order: Order) -> None:
        self.randomness = Randomness(order.spec.seed)
        self._connection = connection
        self._seconds = order.checkpoint_seconds
        self._kept = order.kept
        self._kept_at = time.monotonic()
        self._is_checked = False
        self._place = order.spec.checkpoint if order.files else ""
        self._files = order.files or Files(url="")
        self._names: set[str] = set()
        self._epoch = 0
        keeps_last = order.spec.keep_weights or order.spec.keep_checkpoint
        self._kept_after = order.spec.budget_epochs if keeps_last else None

    def hand_over(self, values: Mapping[str, float], conduct: Mapping[str, Any]) -> None:
        self._connection.send(Report(values=values, conduct=conduct))
        try:
            goes_on: bool = self._connection.recv()
        except EOFError:
            goes_on = False
        if not goes_on:
            raise ReleasedError
        self._epoch += 1

    def wants_checkpoint(self) -> bool:
        if self._epoch == self._kept_after:
            return True
        return self._seconds is not None and time.monotonic() >= self._kept_at + self._seconds

    def keep(self, kept: Kept) -> None:
        self.randomness.capture()
        buffer = io.BytesIO()
        torch.save({**kept, "randomness": self.randomness.state()}, buffer)
        if not self._is_checked:
            _check_loads(buffer.getvalue())
            self._is_checked = True
        self._connection.send(Checkpoint(epoch=kept["epoch"], kept=buffer.getvalue()))
        self._kept_at = time.monotonic()

    def save(self, name: str, path: Path) -> None:
        if len(self._names | {name}) > MOST_FILES:
            raise ValueError(f"a trial saves at most {MOST_FILES} files, but got {name!r} as well.")
        saved = self._kept_once_there_is_room(name, path)
        self._names.add(name)
        if self._place:
            self._connection.send(saved)

    def _kept_once_there_is_room(self, name: str, path: Path) -> SavedFile:
        until = time.monotonic() + FULL_SECONDS
        while True:
            try:
                return self._files.keep(self._place, name, path)
            except OSError as error:
                is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                if not is_full or time.monotonic() > until:
                    raise
                print(f"[{name} is saved once there is room: {error}]")  # noqa: T201
                time.sleep(RETRY_SECONDS)

    def kept(self) -> Kept | None:
        if self._kept is None:
            return None
        kept: Kept = torch.load(io.BytesIO(self._kept), weights_only=True, map_location="cpu")
        return kept

    def restore_generators(self, kept: Kept) -> None:
        self._epoch = kept["epoch"]
        self.randomness.load(kept["randomness"])
        self.randomness.start()


def run(trial: int, output: int) -> NoReturn:
    """Run the trial that is ordered on a connection, and end the process.

    Args:
        trial: The file descriptor of the connection.
        output: The file descriptor that takes what the function prints.
    """
    os.setsid()  # so that Ctrl-C spares it, and the trainer can end it with all that it started
    _redirect(output)
    connection = Connection(trial)
    try:
        connection.send(os.getpid())
        _obey(connection, connection.recv())
    except (EOFError, BrokenPipeError):  # the trainer is gone
        pass
    finally:
        _flush()
        os._exit(0)


def _redirect(output: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(nothing)
    os.close(output)
    written = functools.partial(
        open, mode="w", buffering=1, encoding="utf-8", errors="replace", closefd=False
    )
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  # until the process ends
    sys.stdout, sys.stderr = written(1), written(2)
    faulthandler.enable(sys.stderr)
    faulthandler.register(STACK_SIGNAL, sys.stderr)


def _obey(connection: Connection, order: Order) -> None:
    try:
        os.environ.clear()
        os.environ.update(order.environment)
        os.chdir(order.folder)
        if torch.get_num_threads() != order.threads:
            torch.set_num_threads(order.threads)
        source: Source = pickle.loads(order.source)
        workload = source.find(order.spec.workload)
        host = ProcessHost(connection, order)
        trial = open_trial(order.spec, workload, host)
        host.randomness.start()
        workload.train(trial)
    except ReleasedError:
        return
    except BaseException as error:
        ended = Ended(fault=_fault(error))
    else:
        ended = Ended(conduct=trial.conduct())
    _flush()  # the trainer reads what was printed when it learns of the end
    connection.send(ended)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # the function may have replaced or closed it
            stream.flush()


def open_trial(spec: TrialSpec, workload: FunctionWorkload, host: ProcessHost) -> Trial:
    """Return what the function sees of a trial."""
    from gradnoise.training import device

    with WORKLOADS.including(workload):
        setup = prepare(spec)
    contribution = setup.contribution

    def transforms(weights: Mapping[str, torch.Tensor]) -> SingleFunctions:
        return SingleFunctions(contribution, weights, {})

    techniques = [TECHNIQUES.find(name) for name in spec.techniques]
    return Trial(
        params=spec.params,
        options=setup.options,
        optimizer=setup.optimizer,
        seed=spec.seed,
        budget_epochs=spec.budget_epochs,
        report_every=spec.report_every,
        with_test=spec.with_test and workload.has_test,
        metrics=workload.metrics,
        process=contribution.gradient,
        transforms=transforms if contribution.transforms else None,
        technique_params=[each.name for known in techniques for each in known.parameters],
        device=device(),
        arm=spec.arm,
        phase=spec.phase,
        number=spec.number,
        host=host,
    )


def _fault(error: BaseException) -> Fault:
    if not isinstance(error, Exception):  # such as SystemExit
        error = RuntimeError(f"the function ended by {error!r}.").with_traceback(
            error.__traceback__
        )
    if error.__traceback__ is not None:  # without the line of this module
        error = error.with_traceback(error.__traceback__.tb_next)
    return Fault.of(error)


def _check_loads(kept: bytes) -> None:
    try:
        torch.load(io.BytesIO(kept), weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise TypeError(
            "trial.checkpoint takes tensors, numbers, text, and lists and dicts of them, such as "
            f"the results of state_dict(); another object cannot be loaded: {error}"
        ) from None
