"""Chaos: every process of the service and its database fail at random under a queue of studies.

    python tests/support/chaos.py --database sqlite --faults 500 --seed 1

Each study has an undisturbed twin. Its trials, measurements, records in Optuna and comparison must
be those of the twin, value by value, and nothing may remain of it beside them.
"""

import argparse
import contextlib
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
import urllib.error
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradnoise_service.prepare_database import prepare_database
from gradnoise_service.search import open_storage
from gradnoise_service.store import studies, trials
from gradnoise_service.store.database import open_database
from installed import put
from postgres_server import PostgresServer, postgres_binaries
from service_up import Up
from study_outcomes import Outcome, open_attempts, outcome
from study_runs import assert_exactly_as_declared

SUPPORT = Path(__file__).parent
MLP = {"dataset": "digits", "depth": 2, "width": 16, "init": "he"}
TUNED = {
    "workload": "mlp",
    "options": MLP,
    "smallest_difference": 0.02,
    "space": {"lr": {"low": 0.01, "high": 0.3, "log": True}},
    "search": {
        "n_trials": 6,
        "repeats": 1,
        "epochs": 40,
        "lag": 3,
        "pruner": {"name": "median", "startup_trials": 2, "warmup_epochs": 8, "every_epochs": 8},
        "rerun": {"top": 2, "n_seeds": 2},
    },
    "confirm": {"n_seeds": 4},
}
GRID = {
    "workload": "mlp",
    "options": MLP,
    "smallest_difference": 0.02,
    "arms": [
        {"name": "baseline", "techniques": ["none"]},
        {"name": "noisy", "techniques": ["annealed"], "space": {"eta": 0.3, "gamma": 0.55}},
    ],
    "space": {"lr": {"choices": [0.03, 0.1]}},
    "confirm": {"n_seeds": 5, "epochs": 40},
}
FUNCTION = {
    "workload": "resuming",
    "smallest_difference": 0.02,
    "space": {"lr": {"low": 0.001, "high": 0.1, "log": True}},
    "search": {
        "n_trials": 3,
        "repeats": 1,
        "epochs": 20,
        "sampler": "random",
        "rerun": {"n_seeds": 0},
    },
    "confirm": {"n_seeds": 3},
}
KINDS: dict[str, dict[str, Any]] = {"tuned": TUNED, "grid": GRID, "function": FUNCTION}
AT_ONCE = 3
APPEAR_SECONDS = 20.0
END_SECONDS = 900.0

PROCESSES = {
    "supervisor": "gradnoise up",
    "api": "tether gradnoise_service.app",
    "dashboard": "tether gradnoise_service.dashboard",
    "dispatcher": "tether gradnoise_workers",
    "actor": "ray::TrialActor",
    "function": "function_server",
    "raylet": "/raylet/raylet",
    "gcs": "gcs_server",
}
"""Parts of the command lines of each kind of process."""
KILLS = {
    "actor": 7,
    "function": 3,
    "api": 3,
    "dashboard": 1,
    "dispatcher": 2,
    "supervisor": 1,
    "raylet": 1,
    "gcs": 1,
}
STOPS = {"actor": 4, "function": 2, "api": 2, "dispatcher": 3, "supervisor": 1, "raylet": 1}
DATABASE = {
    "sqlite": {"lock": 6},
    "postgres": {"terminate": 3, "suspend": 2, "restart": 1},
}


@dataclass
class Chaos:
    """Faults of a running service, drawn from a seed."""

    up: Up
    database_url: str
    server: PostgresServer | None
    seed: int
    done: Counter[str] = field(default_factory=Counter)
    stopped: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        on = "postgres" if self.server else "sqlite"
        weights = {
            **{("kill", kind): weight for kind, weight in KILLS.items()},
            **{("stop", kind): weight for kind, weight in STOPS.items()},
            **{("database", how): weight for how, weight in DATABASE[on].items()},
        }
        self._kinds, self._weights = list(weights), list(weights.values())

    def fault(self) -> None:
        """Cause a fault, once there is a process for it, and pause; nothing if there is none."""
        what, kind = self._random.choices(self._kinds, self._weights)[0]
        seconds = self._random.expovariate(1 / 1.5)
        pause = self._random.uniform(0.1, 1.0)
        if what == "database":
            self._cut(kind, min(seconds, 6.0))
        elif not wait(lambda: self._signal(what, kind, min(seconds, 8.0)), APPEAR_SECONDS):
            return
        self.done[f"{what} {kind}"] += 1
        time.sleep(pause)

    def keep_up(self) -> None:
        """Start the service again if its supervisor has ended, as an operator does."""
        if self.up.process.poll() is not None:
            self.done["restarts by the operator"] += 1
            self.up.start()

    def resume(self, now: float) -> None:
        """Resume the stopped processes whose time is over."""
        for pid, until in list(self.stopped.items()):
            if until <= now:
                del self.stopped[pid]
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _signal(self, what: str, kind: str, seconds: float) -> bool:
        """Kill or stop a process of a kind, and return whether there is one."""
        self.keep_up()
        self.resume(time.monotonic())
        part = PROCESSES[kind]
        pids = sorted(pid for pid, command in self.up.processes().items() if part in command)
        if not pids:
            return False
        pid = self._random.choice(pids)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL if what == "kill" else signal.SIGSTOP)
        if what == "stop":
            self.stopped[pid] = time.monotonic() + seconds
        return True

    def _cut(self, how: str, seconds: float) -> None:
        if how == "lock":
            path = self.database_url.removeprefix("sqlite:///")
            with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection:
                connection.execute("BEGIN EXCLUSIVE")
                time.sleep(seconds)
                connection.rollback()
            return
        assert self.server is not None
        if how == "terminate":
            self.server.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        elif how == "suspend":
            with self.server.suspended():
                time.sleep(seconds)
        else:
            self.server.restart()


@dataclass
class Run:
    """A run of the chaos: the studies that it has submitted, and what it has found."""

    up: Up
    database_url: str
    twins: dict[str, Outcome] = field(default_factory=dict)
    open: dict[int, str] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    n_submitted: int = 0

    def submit(self, kind: str) -> None:
        """Submit a study, again until it is answered; its key keeps it from being stored twice."""
        name = f"{kind} {self.n_submitted}"
        spec = {**KINDS[kind], "name": name, "seed": 7, "max_attempts": 10}
        if (created := self._answer("/v1/studies", spec, name)) is not None:
            self.n_submitted += 1
            self.open[int(created["id"])] = kind

    def collect(self) -> None:
        """Compare the studies that have ended with their twins."""
        for id, kind in list(self.open.items()):
            shown = self._answer(f"/v1/studies/{id}")
            if shown is None or shown["state"] in ("queued", "running"):
                continue
            del self.open[id]
            self.ended.append(id)
            if shown["state"] != "complete":
                self.faults.append(f"study {id} ({kind}) is {shown['state']}: {shown['error']}")
                continue
            self._compare(id, kind)

    def left_behind(self) -> list[str]:
        """Return the files beside the checkpoints that an extension could continue."""
        folder = self.up.home / "checkpoints"
        database = open_database(self.database_url)
        with database.session() as session:
            kept = {
                str(folder / str(id) / f"{trial_id}.pt")
                for id in self.ended
                for trial_id in trials.extensible(session, id)
            }
        database.dispose()
        return sorted({str(path) for path in folder.rglob("*") if path.is_file()} - kept)

    def _compare(self, id: int, kind: str) -> None:
        database, storage = open_database(self.database_url), open_storage(self.database_url)
        try:
            with database.session() as session:
                study = studies.get(session, id, None)
            found = outcome(database, study)
            self.faults += [
                f"study {id} ({kind}): {difference}"
                for difference in found.differences(self.twins.setdefault(kind, found))
            ]
            assert_exactly_as_declared(database, storage, study)
            if n := open_attempts(database, study):
                self.faults.append(f"study {id} ({kind}) has {n} running attempts")
        except AssertionError as error:
            self.faults.append(f"study {id} ({kind}): {error}")
        finally:
            storage.remove_session()
            storage.engine.dispose()
            database.dispose()

    def _answer(self, path: str, body: object = None, key: str = "") -> dict[str, Any] | None:
        """Return the answer of the API; None if it gives none at present.

        A server that is overloaded or cut off from its database may refuse; any other refusal is a
        fault.
        """
        try:
            return self.up.get(path, body, key)
        except urllib.error.HTTPError as error:
            if error.code != 503:
                self.faults.append(f"{path}: {error.code} {error.read()[:500]!r}")
        except (OSError, ValueError):  # no connection, or an answer that was cut off
            pass
        return None


@contextmanager
def service(folder: Path, server: PostgresServer | None) -> Iterator[tuple[Up, str]]:
    """Start a service on a new database; assert that it ends, and none of its processes remains."""
    home = folder / "home"
    home.mkdir()
    put(folder / "site", "probes", {"resuming": "probe_functions:resuming"}, "gradnoise.workloads")
    url = server.url(server.create()) if server else f"sqlite:///{home / 'gradnoise.db'}"
    prepare_database(url)
    up = Up(
        home,
        url,
        PYTHONPATH=os.pathsep.join(map(str, (folder / "site", *sys.path))),
        GRADNOISE_LEASE_SECONDS="4",
        GRADNOISE_SLOTS="4",
        GRADNOISE_CONCURRENT_STUDIES="2",
        GRADNOISE_REQUESTS_PER_MINUTE="100000",
    )
    try:
        yield up, url
        up.stop()
        left = wait(lambda: not up.processes(), 30) or up.processes()
        assert left is True, f"processes remain: {left}"
    finally:
        up.process.kill()
        for pid in up.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Return whether a condition holds within some seconds."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True


def cause(database: str, n_faults: int, seed: int) -> tuple[list[str], str]:
    """Cause faults on a service and return what is wrong afterwards, and the figures.

    Args:
        database: `sqlite` or `postgres`.
        n_faults: How many.
        seed: Determines the faults and their order.
    """
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gradnoise-chaos-")))
        server = None
        if database == "postgres":
            binaries = postgres_binaries()
            assert binaries is not None, "PostgreSQL is not installed"
            (folder / "pg").mkdir()
            folder.chmod(0o755)
            server = PostgresServer(binaries=binaries, folder=folder / "pg")
            server.start()
            stack.callback(server.stop)
        up, url = stack.enter_context(service(folder, server))
        up.until(lambda: bool(up.get("/readyz")["ready"]), "getting ready")
        run, chaos = Run(up, url), Chaos(up, url, server, seed)
        for kind in KINDS:
            run.submit(kind)

        def settle() -> bool:
            chaos.keep_up()
            chaos.resume(time.monotonic())
            run.collect()
            return not run.open

        assert wait(settle, END_SECONDS), f"the undisturbed studies do not end:\n{up.tail()}"
        assert not run.faults, run.faults
        undisturbed, kinds = time.monotonic() - started, list(KINDS)
        while sum(chaos.done.values()) - chaos.done["restarts by the operator"] < n_faults:
            chaos.keep_up()
            if len(run.open) < AT_ONCE:
                run.submit(kinds[run.n_submitted % len(kinds)])
            chaos.fault()
            run.collect()
        if not wait(settle, END_SECONDS):
            run.faults.append(f"studies {sorted(run.open)} do not end:\n{up.tail()}")
        if not wait(lambda: not run.left_behind(), 30):
            run.faults.append(f"checkpoints remain: {run.left_behind()}")
        n_disturbed = len(run.ended) - len(KINDS)
        figures = (
            f"{database}, seed {seed}: {n_faults} faults, {n_disturbed} disturbed studies, "
            f"{len(run.faults)} differences, {time.monotonic() - started:.0f} s "
            f"({undisturbed:.0f} s undisturbed); "
            + ", ".join(f"{n} {kind}" for kind, n in sorted(chaos.done.items()))
        )
    return run.faults, figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Cause faults and print what they have changed; the exit code is 1 if anything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgres"], action="append")
    parser.add_argument("--faults", type=int, default=1000, help="over all databases")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    databases = given.database or ["sqlite", "postgres"]
    has_failed = False
    for database in databases:
        wrong, figures = cause(database, given.faults // len(databases), given.seed)
        print(figures, *wrong, sep="\n", flush=True)  # noqa: T201
        has_failed |= bool(wrong)
    return int(has_failed)


if __name__ == "__main__":
    sys.exit(main())
