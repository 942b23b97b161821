"""Runs a module as `python -m MODULE` would, for as long as whoever started it lives.

    python -m gradnoise_service.tether MODULE [ARGUMENTS]

The starter holds the other end of this process's standard input and never writes to it. When the
starter ends, in whatever way, that end closes: the process then asks itself to stop, and after a
while ends its process group. The starter puts it into a session of its own.
"""

import os
import runpy
import signal
import sys
import threading
import time

GRACE_SECONDS = 20


def watch_starter(grace_seconds: float) -> None:
    """Wait for the starter's end, then ask this process to stop, and after a while end its process
    group.
    """
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_seconds)
    os.killpg(os.getpid(), signal.SIGKILL)


def main() -> None:
    threading.Thread(
        target=watch_starter, args=(GRACE_SECONDS,), name="tether", daemon=True
    ).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
