"""Signals that stop a command as Ctrl-C does."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import NoReturn


@contextlib.contextmanager
def interrupt_on_stop_signals() -> Iterator[None]:
    """Convert SIGTERM and SIGHUP in the block to KeyboardInterrupt.

    A signal that is ignored on entry, as SIGHUP under nohup, stays ignored.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    numbers = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) != signal.SIG_IGN
    ]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt_main_thread() -> None:
    """Interrupt the main thread by SIGTERM, which works in background jobs of a shell too."""
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGTERM)


def wait_for_interrupt() -> NoReturn:
    """Wait until a signal raises KeyboardInterrupt.

    It wakes up now and then, since the kernel may give a signal to another thread, which does not
    wake the main thread that handles it.
    """
    while True:
        time.sleep(0.5)
