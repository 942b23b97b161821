"""Faults of a running service: its processes and its database fail, in an order drawn from a seed.

A fault is counted once it has hit: a process of its kind was there to be killed or stopped, or the
database was locked, cut off, stopped or killed while a worker trained.
"""

import contextlib
import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from postgres_server import PostgresServer
from service_up import Up

Fault = tuple[str, str]
"""What is done, and to what kind of process or in which way to the database."""

PROCESSES = {
    "supervisor": "gradnoise up",
    "api": "tether gradnoise_service.app",
    "dashboard": "tether gradnoise_service.dashboard",
    "dispatcher": "tether gradnoise_workers",
    "worker": "ray::TrialActor.advance",
    "function": "function_server",
    "raylet": "/raylet/raylet",
    "gcs": "gcs_server",
}
"""Parts of the command lines of each kind of process; a worker is one while it trains."""
# After the death of a supervisor, dispatcher, raylet or gcs Ray starts anew, in about 10 s of CPU
# time; five deaths of the API, each within 20 s of its start, end the supervisor.
WEIGHTS: Mapping[Fault, int] = {
    ("kill", "worker"): 10,
    ("kill", "function"): 6,
    ("kill", "api"): 7,
    ("kill", "dashboard"): 2,
    ("kill", "dispatcher"): 2,
    ("kill", "supervisor"): 1,
    ("kill", "raylet"): 1,
    ("kill", "gcs"): 1,
    ("stop", "worker"): 16,
    ("stop", "function"): 8,
    ("stop", "api"): 10,
    ("stop", "dashboard"): 2,
    ("stop", "dispatcher"): 6,
    ("stop", "supervisor"): 4,
    ("stop", "raylet"): 3,
    ("stop", "gcs"): 3,
}
DATABASE: Mapping[str, Mapping[Fault, int]] = {
    "sqlite": {("lock", "database"): 18},
    "postgres": {
        ("cut off", "database"): 7,
        ("stop", "database"): 6,
        ("kill", "database"): 3,
        ("restart", "database"): 2,
    },
}
LONGEST_SECONDS = 8.0
APPEAR_SECONDS = 600.0
AHEAD = 8
"""Faults of which the first that can hit is next, so that those of rare processes do not remain."""


def drawn(database: str, n: int, draw: random.Random) -> list[Fault]:
    """Return n faults in random order, each kind as often as its weight says, at least once.

    Args:
        database: `sqlite` or `postgres`.
        n: How many; of fewer than there are kinds, some are left out.
        draw: The generator.
    """
    weights = {**WEIGHTS, **DATABASE[database]}
    counts = Counter(draw.sample(list(weights), min(n, len(weights))))
    while counts.total() < n:
        counts[min(counts, key=lambda fault: counts[fault] / weights[fault])] += 1
    faults = list(counts.elements())
    draw.shuffle(faults)
    return faults


@dataclass
class Faults:
    """Causes faults on a service.

    Args:
        up: The service.
        database_url: Its database.
        server: The server of the database; None for SQLite.
        n: How many faults.
        seed: Determines them and their order.
        hits: How often each has hit.
        given_up: Set to cause no more.
        n_restarts: How often the service had to be started again.
    """

    up: Up
    database_url: str
    server: PostgresServer | None
    n: int
    seed: int
    hits: Counter[Fault] = field(default_factory=Counter)
    given_up: threading.Event = field(default_factory=threading.Event)
    n_restarts: int = 0

    def run(self) -> None:
        """Cause all faults, one after the other; a kind that has no process yet comes later."""
        draw = random.Random(self.seed)
        due = drawn("postgres" if self.server else "sqlite", self.n, draw)
        given_up_at = time.monotonic() + APPEAR_SECONDS
        while due and not self.given_up.is_set():
            self.keep_up()
            seconds = min(draw.expovariate(1 / 1.5), LONGEST_SECONDS)
            fault = next((f for f in due[:AHEAD] if self._hits(f, seconds, draw)), None)
            if fault is not None:
                due.remove(fault)
                self.hits[fault] += 1
                self.up.note(f"fault {self.hits.total()}: {' '.join(fault)}")
                given_up_at = time.monotonic() + APPEAR_SECONDS
            assert time.monotonic() < given_up_at, f"no process for {due}:\n{self.up.tail()}"
            time.sleep(draw.uniform(0.1, 1.0))

    def keep_up(self) -> None:
        """Start the service again if its supervisor has ended, as an operator does."""
        if self.up.process.poll() is not None:
            self.n_restarts += 1
            self.up.start()

    def _hits(self, fault: Fault, seconds: float, draw: random.Random) -> bool:
        what, kind = fault
        part = PROCESSES["worker" if kind == "database" else kind]
        pids = sorted(pid for pid, command in self.up.processes().items() if part in command)
        if not pids:
            return False
        if kind == "database":
            self._disturb_database(what, seconds)
            return True
        pid = draw.choice(pids)
        try:
            os.kill(pid, signal.SIGKILL if what == "kill" else signal.SIGSTOP)
        except ProcessLookupError:
            return False
        if what == "stop":
            threading.Timer(seconds, _continue, [pid]).start()
        return True

    def _disturb_database(self, what: str, seconds: float) -> None:
        if self.server is None:
            path = self.database_url.removeprefix("sqlite:///")
            with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection:
                connection.execute("BEGIN EXCLUSIVE")
                time.sleep(seconds)
                connection.rollback()
        elif what == "cut off":
            self.server.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        elif what == "stop":
            with self.server.suspended():
                time.sleep(seconds)
        elif what == "kill":
            self.server.crash()
        else:
            self.server.restart()


def _continue(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
