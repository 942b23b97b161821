"""Run a module as `python -m MODULE`, but end with the process that started it.

    python -m gradnoise_service.local.tether MODULE [ARGUMENTS]

The starter holds the other end of this process's standard input and never writes to it. That end
closes when the starter ends, for whatever reason. This process then sends itself SIGTERM, and after
a grace period kills its process group. The starter must start it in a new session.
"""

import os
import runpy
import signal
import sys
import threading
import time

GRACE_SECONDS = 20


def end_with_starter(grace_seconds: float) -> None:
    """Wait for the end of the starter; then send SIGTERM, and SIGKILL after a grace period."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_seconds)
    os.killpg(os.getpid(), signal.SIGKILL)


def main() -> None:
    threading.Thread(
        target=end_with_starter, args=(GRACE_SECONDS,), name="tether", daemon=True
    ).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
