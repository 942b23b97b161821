"""The process from which training functions are forked.

It has imported torch, gradnoise and the function's module, so that a trial starts within
milliseconds. It runs no function itself. The first message on its socket is a pickled Source, with
its length before it; each later one is a byte with three file descriptors: the trial's connection,
the pipe for its output and the pipe for its exit status. It ends, with all trials, when the socket
is closed.
"""

import contextlib
import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from multiprocessing import connection

import torch

from gradnoise._noise import Noise
from gradnoise.techniques.registry import TECHNIQUES
from gradnoise.training.function_child import Source, run
from gradnoise.training.gpus import cuda_fault
from gradnoise.workloads.registry import OPTIMIZERS, WORKLOADS

LENGTH_BYTES, STATUS_BYTES = 8, 4
OF_FORKS = ("forked subprocess", "initialization error")
"""In the messages of torch and CUDA where it had started before the process was forked."""


def main(descriptor: int) -> None:
    """Serve the socket of this descriptor until it is closed."""
    os.set_inheritable(descriptor, False)
    with socket.socket(fileno=descriptor) as server:
        length = int.from_bytes(server.recv(LENGTH_BYTES, socket.MSG_WAITALL), "little")
        may_fork = _import(server.recv(length, socket.MSG_WAITALL))
        Server(server, may_fork).serve()


class Server:
    """The processes of the trials, by their ids, with the pipes for their exit statuses."""

    def __init__(self, server: socket.socket, may_fork: bool) -> None:
        self._server = server
        self._start = self._fork if may_fork else _spawn
        self._statuses: dict[int, int] = {}
        self._woken, self._wakes = os.pipe()

    def serve(self) -> None:
        """Start a process for each request and pass on the exit status of each."""
        os.set_blocking(self._wakes, False)
        signal.set_wakeup_fd(self._wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the trainer decides when a trial ends
        try:
            while self._answer(connection.wait([self._server, self._woken])):
                pass
        finally:
            for pid in self._statuses:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)

    def _answer(self, ready: Sequence[object]) -> bool:
        """Answer what is ready and return whether to go on."""
        if self._woken in ready:
            os.read(self._woken, 4096)
            self._reap()
        if self._server not in ready:
            return True
        message, descriptors, _, _ = socket.recv_fds(self._server, 1, 3)
        if not message:
            return False
        trial, output, status = descriptors
        self._statuses[self._start(trial, output)] = status
        os.close(trial)
        os.close(output)
        return True

    def _reap(self) -> None:
        for pid in list(self._statuses):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                pipe = self._statuses.pop(pid)
                with contextlib.suppress(BrokenPipeError):  # the trainer has removed the trial
                    os.write(pipe, code.to_bytes(STATUS_BYTES, "little", signed=True))
                os.close(pipe)

    def _fork(self, trial: int, output: int) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._server.close()
            for descriptor in (self._woken, self._wakes, *self._statuses.values()):
                os.close(descriptor)
            run(trial, output)
        finally:
            os._exit(1)


def _import(source: bytes) -> bool:
    """Import what trials need; return whether the process can be forked afterwards.

    A copy of a process with threads or with a CUDA context does not work. Then each trial starts a
    new interpreter, which takes seconds.
    """
    # else a module that asks whether there is a GPU starts CUDA
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    torch.set_num_threads(1)  # so that a module that computes when it is imported starts no threads
    parameter = torch.zeros(1, requires_grad=True)
    torch.optim.SGD([parameter])  # loads torch's compiler
    Noise(0, {"": parameter.shape}).add_([parameter.detach()], 0, 0.0, None)  # loads the kernel
    with contextlib.suppress(Exception):  # the trial raises it again
        needed: Source = pickle.loads(source)
        needed.load()
    for registry in (WORKLOADS, TECHNIQUES, OPTIMIZERS):
        registry.installed()
    return threading.active_count() == 1 and _can_copies_use_cuda()


def _can_copies_use_cuda() -> bool:
    """Return whether CUDA starts in a forked process, where it would in a new one."""
    if not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]  # of torch
        return True
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1] == 0
    status = 1
    try:
        fault = cuda_fault()
        status = int(any(sign in fault for sign in OF_FORKS))
    finally:
        os._exit(status)


def _spawn(trial: int, output: int) -> int:
    for descriptor in (trial, output):
        os.set_inheritable(descriptor, True)
    return os.posix_spawn(
        sys.executable,
        python(f"from {run.__module__} import run; run({trial}, {output})"),
        os.environ,
        setsigmask=(),
        setsigdef=(signal.SIGINT, signal.SIGCHLD),
    )


def python(statement: str) -> list[str]:
    """Return the command that executes a statement in an interpreter like this one."""
    import subprocess

    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return [sys.executable, *flags, "-c", f"import sys; sys.path[:] = {sys.path}; {statement}"]
