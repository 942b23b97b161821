"""The process of a training function as the trainer sees it, and the server that forks it."""

import codecs
import contextlib
import os
import signal
import socket
import subprocess
import time
import weakref
from collections.abc import Callable
from multiprocessing import Pipe, connection
from typing import Any

from gradnoise.training.function_child import STACK_SIGNAL
from gradnoise.training.function_server import LENGTH_BYTES, STATUS_BYTES, main, python
from gradnoise.training.output import Output

CLOSE_SECONDS = 5.0
STACK_SECONDS = 1.0
PIPE_BYTES = 65_536
READ_BYTES = 16 * PIPE_BYTES


class FunctionProcess:
    """A process that runs a training function.

    Args:
        source: Where the function is found, a pickled Source.
        output: Takes what it prints.

    Attributes:
        alive_at: When it last gave a sign of life, or the trainer its turn, by the monotonic clock.
        n_printed: Bytes that it has printed since its last message.
    """

    def __init__(self, source: bytes, output: Output) -> None:
        self.alive_at = time.monotonic()
        self.n_printed = 0
        self._output = output
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        if not self._open(source):  # the server was just killed
            self._close_pipes()
            _servers.pop(source, None)
            self._open(source)

    def _open(self, source: bytes) -> bool:
        """Let the server start the process, which first sends its id; return whether it did."""
        self._server = _server(source)  # kept, because the end of a server ends its processes
        self._connection, trial = Pipe()
        self._printed, prints = os.pipe()
        self._status, status = os.pipe()
        os.set_blocking(self._printed, False)
        with trial:
            self._server.start(trial.fileno(), prints, status)
        os.close(prints)
        os.close(status)
        self._pid: int | None = None
        self._code: int | None = None
        try:
            self._pid = self._connection.recv()
        except (EOFError, ConnectionResetError):
            sent = os.read(self._status, STATUS_BYTES)
            self._code = _code(sent)
            return bool(sent)
        return True

    def send(self, message: object) -> None:
        """Send a message; it is lost if the process has ended."""
        self.alive_at = time.monotonic()
        with contextlib.suppress(BrokenPipeError):
            self._connection.send(message)

    def receive(self, timeout_seconds: float) -> Any:
        """Return the next message of the process; its exit code, an int, if it has ended.

        Raises:
            TimeoutError: If there is none within the timeout, output not counted.
        """
        until = time.monotonic() + timeout_seconds
        open_ends: list[Any] = [self._connection, self._status, self._printed]
        while True:
            ready = connection.wait(open_ends, max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError
            if self._printed in ready and not self._read_output():
                open_ends.remove(self._printed)
            if self._connection in ready:
                try:
                    message = self._connection.recv()
                except (EOFError, ConnectionResetError):
                    open_ends.remove(self._connection)
                else:
                    self._read_output()
                    self.alive_at, self.n_printed = time.monotonic(), 0
                    return message
            elif self._status in ready:
                self._read_output()
                return self._exit_code()
            elif time.monotonic() >= until:  # it prints without a pause
                raise TimeoutError

    def close(self, patience_seconds: float = CLOSE_SECONDS) -> None:
        """Let the function end at its report; when the patience is over, end its process.

        The processes that it started are ended with it.
        """
        self.send(False)
        connection.wait([self._status], patience_seconds)
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)
        connection.wait([self._status])
        self._close_pipes()

    def print_stack(self) -> None:
        """Make the process print where it is, if it can."""
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, STACK_SIGNAL)
        with contextlib.suppress(TimeoutError):
            self.receive(STACK_SECONDS)

    def _read_output(self) -> bool:
        """Read what was printed since the last call, at most READ_BYTES.

        Returns whether more can follow.
        """
        for _ in range(0, READ_BYTES, PIPE_BYTES):
            try:
                written = os.read(self._printed, PIPE_BYTES)
            except BlockingIOError:
                return True
            if not written:
                return False
            self._output.add(self._decoder.decode(written))
            self.alive_at = time.monotonic()
            self.n_printed += len(written)
        return True

    def _exit_code(self) -> int:
        if self._code is None:
            self._code = _code(os.read(self._status, STATUS_BYTES))
        return self._code

    def _close_pipes(self) -> None:
        self._connection.close()
        os.close(self._printed)
        os.close(self._status)


def _code(status: bytes) -> int:
    """Return an exit code; without one the server has ended, and with it the process."""
    return int.from_bytes(status, "little", signed=True) if status else -signal.SIGKILL


class ForkServer:
    """The server's process; it ends when nothing refers to this object.

    Args:
        source: Where the functions are found, a pickled Source.
    """

    def __init__(self, source: bytes) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                python(f"from {main.__module__} import main; main({theirs.fileno()})"),
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._process = process
        weakref.finalize(self, _stop, self._socket, process)
        self._socket.sendall(len(source).to_bytes(LENGTH_BYTES, "little") + source)

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def start(self, trial: int, output: int, status: int) -> None:
        """Start a process with the ends of these pipes."""
        with contextlib.suppress(BrokenPipeError):  # then the pipes are closed, unused
            socket.send_fds(self._socket, [b"+"], [trial, output, status])


def _stop(server: socket.socket, process: "subprocess.Popen[bytes]") -> None:
    server.close()
    process.wait()


_servers: dict[bytes, ForkServer] = {}


def _server(source: bytes) -> ForkServer:
    """Return the server for a source, a new one if it was killed.

    That of another source ends with its last trial.
    """
    if source not in _servers or not _servers[source].is_alive:
        _servers.clear()
        _servers[source] = ForkServer(source)
    return _servers[source]


_bootstrap: Callable[[], None] | None = None


def bootstrap() -> Callable[[], None] | None:
    """Return what a process of a function calls before it imports the function's module."""
    return _bootstrap


def set_bootstrap(call: Callable[[], None] | None) -> None:
    """Set what a process of a function calls before it imports the function's module.

    Args:
        call: Makes modules that are no files importable; it must be picklable. None: nothing.
    """
    global _bootstrap
    _bootstrap = call
