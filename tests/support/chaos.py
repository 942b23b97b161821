"""Chaos: every process of the service and its database fail at random under a queue of studies.

    python tests/support/chaos.py --database sqlite --faults 500 --seed 1

Each study has an undisturbed twin. Its trials, measurements, records in Optuna and comparison must
be those of the twin, value by value, and nothing may remain of it beside them.
"""

import argparse
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from disturbed_studies import KINDS, DisturbedStudies
from faults import Fault, Faults
from gradnoise_service.client import Client
from gradnoise_service.prepare_database import prepare_database
from installed import put
from postgres_server import PostgresServer, postgres_binaries
from service_up import Up
from study_outcomes import Outcome

DATABASES = ("sqlite", "postgres")
AT_ONCE = 4
POLL_SECONDS = 0.5
END_SECONDS = 900.0
LEFT_SECONDS = 120.0


@dataclass
class Figures:
    """What a run has shown.

    Args:
        wrong: What is not as it should be.
        hits: The faults.
        text: The figures in a sentence.
    """

    wrong: list[str]
    hits: Counter[Fault]
    text: str


@contextmanager
def service(folder: Path, server: PostgresServer | None) -> Iterator[tuple[Up, str]]:
    """Start a service on a new database; assert that it ends, and none of its processes remains."""
    home = folder / "home"
    home.mkdir()
    probes = {"flaky": "probe_functions:flaky"}
    put(folder / "site", "probes", probes, "gradnoise.workloads")
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


@contextmanager
def postgres() -> Iterator[PostgresServer]:
    """Start a PostgreSQL server for a block."""
    binaries = postgres_binaries()
    assert binaries is not None, "PostgreSQL is not installed"
    with tempfile.TemporaryDirectory(prefix="gradnoise-chaos-") as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "pg").mkdir()
        server = PostgresServer(binaries=binaries, folder=Path(folder) / "pg")
        server.start()
        try:
            yield server
        finally:
            server.stop()


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Return whether a condition holds within some seconds."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(POLL_SECONDS)
    return True


def cause(database: str, n_faults: int, seed: int, twins: dict[str, Outcome]) -> Figures:
    """Cause faults on a service and return what is wrong afterwards, and the figures.

    Args:
        database: `sqlite` or `postgres`.
        n_faults: How many.
        seed: Determines the faults and their order.
        twins: The outcomes of undisturbed studies; the kinds without one run before the faults.
    """
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(postgres()) if database == "postgres" else None
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gradnoise-chaos-")))
        up, url = stack.enter_context(service(folder, server))
        log = Path(tempfile.gettempdir()) / f"gradnoise-chaos-{database}-{seed}.log"
        stack.callback(shutil.copy, up.home / "up.log", log)
        client = stack.enter_context(Client(f"http://127.0.0.1:{up.port}"))
        queue = DisturbedStudies(client, url, up.home, twins, seed)
        faults = Faults(up, url, server, n_faults, seed)

        def is_over() -> bool:
            faults.keep_up()
            queue.advance()
            return not queue.n_live

        up.until(lambda: bool(up.get("/readyz")["ready"]), "getting ready")
        for kind in (kind for kind in KINDS if kind not in twins):
            queue.submit(kind)
        assert wait(is_over, END_SECONDS), f"the undisturbed studies do not end:\n{up.tail()}"
        assert not queue.wrong, queue.wrong
        undisturbed = time.monotonic() - started
        n_twins = queue.ended.total()
        with ThreadPoolExecutor(1) as thread, contextlib.ExitStack() as early:
            early.callback(faults.given_up.set)
            causing = thread.submit(faults.run)
            while not causing.done():
                if queue.n_live < AT_ONCE:
                    queue.submit_next()
                queue.advance()
                time.sleep(POLL_SECONDS)
            causing.result()
        caused = time.monotonic() - started
        wrong = queue.wrong
        if not wait(is_over, END_SECONDS):
            wrong.append(f"{queue.n_live} studies do not end:\n{up.tail()}")
        if not wait(lambda: not queue.left_behind(), LEFT_SECONDS):
            wrong.append(f"left behind: {queue.left_behind()}")
    ended = ", ".join(f"{n} {how}" for how, n in sorted(queue.ended.items()))
    verbs = ", ".join(f"{n} {verb}" for verb, n in sorted(queue.verbs.items()))
    text = (
        f"{database}, seed {seed}: {faults.hits.total()} faults under "
        f"{queue.ended.total() - n_twins} studies, of which {queue.n_disturbed} lost "
        f"{queue.n_lost} attempts; {len(wrong)} differences; "
        f"{time.monotonic() - started:.0f} s (ready and undisturbed {undisturbed:.0f} s, "
        f"faults until {caused:.0f} s); started again {faults.n_restarts} times; log: {log}\n"
        f"  ended: {ended}\n  verbs: {verbs}"
    )
    return Figures(wrong, faults.hits, text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Cause faults and print what they have changed; the exit code is 1 if anything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=DATABASES, action="append")
    parser.add_argument("--faults", type=int, default=1000, help="over all databases")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    twins: dict[str, Outcome] = {}
    found = {}
    for database in given.database or DATABASES:
        n_faults = given.faults // len(given.database or DATABASES)
        found[database] = cause(database, n_faults, given.seed, twins)
        print(found[database].text, *found[database].wrong, sep="\n", flush=True)  # noqa: T201
    kinds = sorted({fault for figures in found.values() for fault in figures.hits})
    for what, kind in kinds:
        counts = [figures.hits[what, kind] for figures in found.values()]
        print(f"{what:>8} {kind:<10}", *(f"{n:>4}" for n in counts))  # noqa: T201
    return int(any(figures.wrong for figures in found.values()))


if __name__ == "__main__":
    sys.exit(main())
