"""Run a module as `python -m MODULE`, but end with the process that started it.

    python -m gradnoise_service.local.tether MODULE GRACE_SECONDS

The starter holds the other end of this process's standard input and never writes to it. That end
closes when the starter ends, for whatever reason, or when it asks this process to end. This process
then continues what is stopped in its process group, sends itself SIGTERM, and kills the group after
the grace period. If it is stopped itself, the kernel continues it when the starter ends. The
starter must start it in a new session.
"""

import atexit
import ctypes
import os
import runpy
import signal
import sys
import threading
import time

from gradnoise_service.local.stop_signals import interrupt_main_thread

PR_SET_PDEATHSIG = 1


def end_with_starter(grace_seconds: float) -> None:
    """Wait for the end of the starter; then send SIGTERM, and SIGKILL after a grace period.

    SIGTERM goes to the main thread, since only there does Python handle it: after SIGSTOP the
    kernel may give a signal of the whole process to any thread.
    """
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.killpg(os.getpid(), signal.SIGCONT)  # this process may wait for the others to end
    interrupt_main_thread()
    time.sleep(grace_seconds)
    os.killpg(os.getpid(), signal.SIGKILL)


def continue_at_end_of_starter() -> None:
    """Make the kernel send SIGCONT when the starter ends; only Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGCONT)


def main() -> None:
    _, module, grace_seconds = sys.argv
    continue_at_end_of_starter()
    threading.Thread(
        target=end_with_starter, args=(float(grace_seconds),), name="tether", daemon=True
    ).start()
    sys.argv = [module]
    status = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            raise  # Python shows the sentence
        status = int(end.code or 0)
    atexit._run_exitfuncs()
    os._exit(status)  # to take thousands of modules apart takes a second


if __name__ == "__main__":
    main()
