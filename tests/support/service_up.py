"""`gradnoise up` as a process, with a new folder."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gradnoise_service.local import ports
from processes import WAIT_SECONDS, has_ended, with_environment


class Up:
    """A running `gradnoise up`, and its API.

    Args:
        home: An empty folder.
        database_url: A migrated database.
        settings: Further environment variables.
    """

    def __init__(self, home: Path, database_url: str, **settings: str) -> None:
        self.port = ports.free("127.0.0.1")
        dashboard_port = ports.free("127.0.0.1", exclude=frozenset({self.port}))
        self.home = home
        self._environment = {
            **os.environ,
            "GRADNOISE_HOME": str(home),
            "GRADNOISE_DATABASE_URL": database_url,
            "GRADNOISE_LEASE_SECONDS": "10",
            "GRADNOISE_CHECKPOINT_SECONDS": "0",
            "GRADNOISE_SLOTS": "16",
            "GRADNOISE_PORT": str(self.port),
            "GRADNOISE_DASHBOARD_PORT": str(dashboard_port),
            **settings,
        }
        self.log = (home / "up.log").open("ab")
        self.start()

    def start(self) -> None:
        """Start the service, again if it has ended."""
        command = [str(Path(sys.executable).parent / "gradnoise"), "up"]
        self.process = subprocess.Popen(
            command,
            env=self._environment,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            cwd=self.home,
        )

    def get(self, path: str, body: object = None, key: str = "") -> dict[str, object]:
        """Return the answer to a GET request, or with a body to a POST request.

        Args:
            path: The path.
            body: A JSON value.
            key: The idempotency key, if there is one.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers)
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as answer:
            return json.load(answer)  # type: ignore[no-any-return]

    def until(self, condition: Callable[[], bool], what: str, seconds: float = 240) -> None:
        """Poll until a condition holds; a request without an answer counts as False."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.tail()
            try:
                if condition():
                    return
            except OSError:
                pass
            time.sleep(0.1)
        pytest.fail(f"{what} did not happen within {seconds:.0f} s:\n{self.tail()}")

    def note(self, line: str) -> None:
        """Add a line to the service's log."""
        with (self.home / "up.log").open("a") as log:
            log.write(f"{line}\n")

    def tail(self) -> str:
        """Return the end of the service's log."""
        return (self.home / "up.log").read_text(errors="replace")[-4000:]

    def processes(self) -> dict[int, str]:
        """Return the command lines of the service's processes, by process id."""
        return with_environment(f"GRADNOISE_HOME={self.home}")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(WAIT_SECONDS)


@contextmanager
def service_up(home: Path, database_url: str) -> Iterator[Up]:
    """Start a service, and stop it at the end of the block; assert that no process remains."""
    service = Up(home, database_url)
    try:
        service.until(lambda: bool(service.get("/readyz")["ready"]), "getting ready")
        yield service
        running = service.processes()
        service.stop()
        assert [command for pid, command in running.items() if not has_ended(pid)] == []
    finally:
        service.process.kill()
        service.process.wait()
        service.log.close()
