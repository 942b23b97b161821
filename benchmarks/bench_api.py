"""CPU time of API requests, its growth with the database, and event streams.

The API runs as a process on a database with few studies and on one with 20,000 studies and
2,000,000 measurements, on SQLite and PostgreSQL. CPU time is the user and system time of the API's
process (as getrusage reports it), so other processes do not disturb it; the database server's is
not part of it. Beside it, a bare FastAPI and SQLAlchemy app inserts the row of a submission.
"""

import asyncio
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil

from benchmarks import postgres, stored_studies
from benchmarks.bench_service import api_environment, client_of, process, wait_for
from benchmarks.harness import Figure, ratios, report
from gradnoise_service import presets

ROUNDS = 3
FEW, MANY = 200, 20_000
TRIALS, EPOCHS = 10, 10
"""Trials a study, and measured epochs of each: 100 measurements a study."""
N_STREAMS = 500
N_FOLLOWED = 20
"""Studies that the streams follow, half of them running."""
STREAM_SECONDS = 5.0
BARS = {"list of 50": 5.0, "submit": 5.0, "show": 2.0, "progress": 3.0}
NUMBERS = itertools.count()


def main() -> bool:
    """Measure and compare with the bars; return whether all hold."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, postgres.server() as server:
        for kind in ("SQLite", "PostgreSQL"):
            measured: dict[int, dict[str, list[float]]] = {}
            for n in (FEW, MANY):
                home = Path(folder) / f"{kind}-{n}"
                home.mkdir()
                url = (
                    f"sqlite:///{home / 'gradnoise.db'}"
                    if kind == "SQLite"
                    else server.url(server.create())
                )
                stored_studies.build(url, n, TRIALS, EPOCHS)
                measured[n] = requests(url, home, n)
                if n == MANY:
                    figures.append(streams(url, home, kind, n))
            figures += compared(kind, measured)
    return report("bench_api", figures)


def compared(kind: str, measured: dict[int, dict[str, list[float]]]) -> Iterator[Figure]:
    """Yield the figures of the requests on one kind of database."""
    few, many = measured[FEW], measured[MANY]
    for name, values in many.items():
        yield Figure(
            name=f"{kind}: {name}, {MANY:,} studies",
            unit="ms",
            values=values,
            at_most=BARS.get(name),
        )
        if name in BARS:
            growth = ratios(values, few[name])
            yield Figure(
                name=f"{kind}: {name}, growth from {FEW}", unit="x", values=growth, at_most=1.25
            )
    rate = ratios(many["bare insert"], many["submit"])
    yield Figure(name=f"{kind}: submissions / bare inserts", unit="x", values=rate, at_least=0.5)


def requests(url: str, home: Path, n_studies: int) -> dict[str, list[float]]:
    """Return the CPU milliseconds of each request, in each round."""
    study = presets.load("demo")[0]
    ids = itertools.cycle(range(n_studies, n_studies // 2, -7))

    def submit(client: httpx2.Client) -> httpx2.Response:
        return client.post("/v1/studies", json=study | {"name": f"new {next(NUMBERS)}"})

    def insert(client: httpx2.Client) -> httpx2.Response:
        return client.post("/studies", json=study | {"name": f"bare {next(NUMBERS)}"})

    asked: dict[str, Callable[[httpx2.Client], httpx2.Response]] = {
        "list of 50": lambda client: client.get("/v1/studies?limit=50"),
        "list of 50, other pages": lambda client: client.get(
            f"/v1/studies?limit=50&before={next(ids)}"
        ),
        "show": lambda client: client.get(f"/v1/studies/{next(ids)}"),
        "progress": lambda client: client.get(f"/v1/studies/{next(ids)}/progress"),
        "submit": submit,
    }
    with api(url, home) as (client, child), bare(url, home) as (bare_client, bare_child):
        found: dict[str, list[float]] = {name: [] for name in (*asked, "bare insert")}
        for _ in range(ROUNDS):
            for name, ask in asked.items():
                found[name].append(cpu_milliseconds(child.pid, lambda ask=ask: ask(client)))
            found["bare insert"].append(
                cpu_milliseconds(bare_child.pid, lambda: insert(bare_client))
            )
    return found


def cpu_milliseconds(pid: int, ask: Callable[[], httpx2.Response], n: int = 60) -> float:
    """Return the mean CPU milliseconds that a process uses for a request."""
    ask().raise_for_status()
    before = cpu_seconds(pid)
    for _ in range(n):
        ask().raise_for_status()
    return (cpu_seconds(pid) - before) / n * 1_000


def cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def streams(url: str, home: Path, kind: str, n_studies: int) -> Figure:
    """Return the share of a core that the API uses for open event streams."""
    with api(url, home) as (client, child):
        port = int(str(client.base_url.port))
        studies = [n_studies - i for i in range(N_FOLLOWED)]
        shares = asyncio.run(_follow(port, studies, child.pid))
    return Figure(
        name=f"{kind}: {N_STREAMS} event streams", unit="% of a core", values=shares, at_most=20
    )


async def _follow(port: int, studies: list[int], pid: int) -> list[float]:
    writers = []
    for study_id in itertools.islice(itertools.cycle(studies), N_STREAMS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"GET /v1/studies/{study_id}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        )
        status = await reader.readline()
        if b"200" not in status:
            raise RuntimeError(f"the stream of study {study_id} was answered {status!r}")
        writers.append(writer)
    shares = []
    for _ in range(ROUNDS):
        before = cpu_seconds(pid)
        await asyncio.sleep(STREAM_SECONDS)
        shares.append((cpu_seconds(pid) - before) / STREAM_SECONDS * 100)
    for writer in writers:
        writer.close()
    return shares


@contextmanager
def api(url: str, home: Path) -> Iterator[tuple[httpx2.Client, subprocess.Popen[bytes]]]:
    """Run the API on a database; yield a client and the process."""
    environment = api_environment(home) | {
        "GRADNOISE_DATABASE_URL": url,
        "GRADNOISE_LOG_LEVEL": "info",  # as by default, with the access log
        "GRADNOISE_REQUESTS_PER_MINUTE": "10000000",
        "GRADNOISE_EVENT_STREAMS": str(N_STREAMS),
    }
    log = home / "api.log"
    with (
        process("gradnoise_service.app", environment, log) as child,
        client_of(environment) as client,
    ):
        wait_for(client, "/readyz", child, log)
        yield client, child


@contextmanager
def bare(url: str, home: Path) -> Iterator[tuple[httpx2.Client, subprocess.Popen[bytes]]]:
    """Run the app that inserts the same row; yield a client and the process."""
    environment = api_environment(home) | {"GRADNOISE_DATABASE_URL": url}
    log = home / "bare.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "benchmarks.bare_insert:app"),
                *("--port", environment["GRADNOISE_PORT"], "--no-access-log"),
            ],
            env=os.environ | environment,
            stdout=output,
            stderr=output,
        )
        try:
            with client_of(environment) as client:
                wait_for(client, "/healthz", child, log)
                yield client, child
        finally:
            child.terminate()
            child.wait(60)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
