"""Overhead of the service: time per trial, its growth with the study, start and memory of the API.

A trial makes a single step on a single number, so the time measured is that of proposing, storing,
scheduling and reporting, through the real processes (API, dispatcher, Ray actors) on SQLite. In the
same round, a plain Optuna loop in one process runs the same trials, on SQLite too.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import optuna

from benchmarks.harness import Figure, install, ratios, report

N_SEEDS = 5
ROUNDS = 3
PATIENCE_SECONDS = 1_800.0

# The module of an installed package; the workers find the workload by its entry point.
WORKLOAD = """
import torch

from gradnoise.workloads import Metric, function


@function(
    name="nothing",
    description="Makes one step from 0.",
    metrics=[Metric(name="score", direction="maximize", worst=-1e9)],
)
def train(trial):
    weight = torch.zeros(1, requires_grad=True)
    optimizer = trial.optimizer([weight])
    weight.sum().backward()
    optimizer.step()
    score = -abs(float(weight) + 0.1)
    trial.report(epoch=1, validation_score=score, test_score=score)
"""


def spec(name: str, n_trials: int, sampler: str) -> dict[str, Any]:
    """Return a study of two arms that has n_trials trials, search and confirm together."""
    return {
        "name": name,
        "workload": "nothing",
        "smallest_difference": 0.01,
        "space": {"lr": {"low": 0.001, "high": 1.0, "log": True}},
        "search": {
            "n_trials": n_trials // 2 - N_SEEDS,
            "repeats": 1,
            "epochs": 1,
            "sampler": sampler,
            "rerun": {"n_seeds": 0},
        },
        "confirm": {"n_seeds": N_SEEDS},
        "seed": 1,
    }


@contextmanager
def process(
    module: str, environment: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m module` until the block ends."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", module],
            env=os.environ | environment,
            stdout=output,
            stderr=output,
        )
        try:
            yield child
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(60)


def wait_for(client: httpx2.Client, path: str, child: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the path answers 200.

    Raises:
        RuntimeError: If the process ends first.
        TimeoutError: If the path does not answer 200 within two minutes.
    """
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            is_ready = client.get(path).status_code == 200
        except httpx2.TransportError:
            is_ready = False
        if child.poll() is not None:
            raise RuntimeError(
                f"a process ended with {child.returncode}:\n{log.read_text()[-2000:]}"
            )
        if is_ready:
            return
        time.sleep(0.01)
    raise TimeoutError(f"{path} did not answer 200 within two minutes:\n{log.read_text()[-2000:]}")


def installed(folder: Path, workload: str = WORKLOAD) -> dict[str, str]:
    """Install a workload and return the environment in which the service finds it."""
    return {
        "PYTHONPATH": install(
            folder / "site",
            "gradnoise_nothing",
            {"nothing": "gradnoise_nothing:train"},
            {"gradnoise_nothing": workload},
        )
    }


@contextmanager
def service(folder: Path, settings: Mapping[str, str] = {}) -> Iterator[tuple[httpx2.Client, int]]:
    """Run API and dispatcher on a new database; yield a client and the dispatcher's process id."""
    environment = api_environment(folder) | {"GRADNOISE_REQUESTS_PER_MINUTE": "100000"} | settings
    log = folder / "workers.log"
    with (
        process("gradnoise_service.app", environment, folder / "api.log") as api,
        process("gradnoise_workers", environment, log) as workers,
        client_of(environment) as client,
    ):
        wait_for(client, "/healthz", api, folder / "api.log")
        wait_for(client, "/readyz", workers, log)
        yield client, workers.pid


def api_environment(folder: Path) -> dict[str, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return {
        "GRADNOISE_HOME": str(folder),
        "GRADNOISE_PORT": str(port),
        "GRADNOISE_DATABASE_URL": "",
        "GRADNOISE_LOG_LEVEL": "warning",
    }


def client_of(environment: dict[str, str]) -> httpx2.Client:
    return httpx2.Client(
        base_url=f"http://127.0.0.1:{environment['GRADNOISE_PORT']}", timeout=30, trust_env=False
    )


def milliseconds_a_trial(client: httpx2.Client, study: dict[str, Any], n_trials: int) -> float:
    """Run a study and return its wall time per trial, from acquisition to verdict."""
    seconds = seconds_between(complete(client, study), "started_at", "finished_at")
    return seconds * 1_000 / n_trials


def complete(client: httpx2.Client, study: dict[str, Any]) -> dict[str, Any]:
    """Submit a study, wait for its verdict, and return the API's answer about it.

    Raises:
        TimeoutError: If the study does not end in time.
        RuntimeError: If it ends without a verdict.
    """
    answer = client.post("/v1/studies", json=study)
    answer.raise_for_status()
    url = answer.json()["links"]["self"]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (shown := client.get(url).json())["finished_at"] is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the study did not end within {PATIENCE_SECONDS:g} s: {shown}")
        time.sleep(0.2)
    if shown["state"] != "complete":
        raise RuntimeError(f"the study ended {shown['state']}: {shown['error']}")
    return dict(shown)


def seconds_between(study: Mapping[str, Any], first: str, last: str) -> float:
    """Return the seconds between two times of a study, given by their fields' names."""
    started, ended = (datetime.fromisoformat(study[field]) for field in (first, last))
    return (ended - started).total_seconds()


def plain_optuna(folder: Path, n_trials: int, sampler: str) -> float:
    """Return the wall milliseconds per trial of the same search by Optuna without the service."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = f"sqlite:///{folder / 'plain.db'}"
    create = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}[sampler]
    arms = [
        optuna.create_study(
            storage=url, study_name=arm, direction="maximize", sampler=create(seed=1)
        )
        for arm in ("baseline", "noisy")
    ]
    started = time.perf_counter()
    for _ in range(n_trials // 2):
        for arm in arms:
            trial = arm.ask()
            lr = trial.suggest_float("lr", 0.001, 1.0, log=True)
            if arm.study_name == "noisy":
                trial.suggest_categorical("eta", [0.01, 0.3, 1.0])
                trial.suggest_float("gamma", 0.3, 0.9)
            arm.tell(trial, -((lr - 0.1) ** 2))
    return (time.perf_counter() - started) * 1_000 / n_trials


def api_start(folder: Path) -> tuple[float, float]:
    """Return the seconds from the API's start to its first answer, and its resident megabytes."""
    environment = api_environment(folder)
    log = folder / "api.log"
    started = time.perf_counter()
    with (
        process("gradnoise_service.app", environment, log) as child,
        client_of(environment) as client,
    ):
        wait_for(client, "/healthz", child, log)
        seconds = time.perf_counter() - started
        for path in ("/", "/v1/studies", "/v1/presets", "/openapi.json"):
            client.get(path)
        status = Path(f"/proc/{child.pid}/status").read_text(encoding="utf-8")
    kilobytes = next(
        int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")
    )
    return seconds, kilobytes * 1_024 / 1e6


def main() -> bool:
    few, many = 200, 2_000
    small: dict[str, list[float]] = {"random": [], "tpe": []}
    plain: dict[str, list[float]] = {"random": [], "tpe": []}
    large: dict[str, list[float]] = {"random": [], "tpe": []}
    for round_number in range(ROUNDS):
        for sampler in small:
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                plain[sampler].append(plain_optuna(Path(folder), few, sampler))
            with (
                tempfile.TemporaryDirectory(prefix="bench-") as folder,
                service(Path(folder), installed(Path(folder))) as (client, _),
            ):
                small[sampler].append(
                    milliseconds_a_trial(client, spec(f"few {round_number}", few, sampler), few)
                )
                large[sampler].append(
                    milliseconds_a_trial(client, spec(f"many {round_number}", many, sampler), many)
                )
    first_starts, starts = [], []
    for _ in range(5):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            first_starts.append(api_start(Path(folder)))
            starts.append(api_start(Path(folder)))
    figures = []
    for sampler in small:
        ratio = ratios(small[sampler], plain[sampler])
        growth = ratios(large[sampler], small[sampler])
        figures += [
            Figure(
                name=f"{sampler}: a trial of {few}", unit="ms", values=small[sampler], at_most=60
            ),
            Figure(
                name=f"{sampler}: a trial of {few}, plain Optuna loop",
                unit="ms",
                values=plain[sampler],
            ),
            Figure(name=f"{sampler}: service / plain loop", unit="x", values=ratio),
            Figure(name=f"{sampler}: a trial of {many}", unit="ms", values=large[sampler]),
            Figure(
                name=f"{sampler}: growth from {few} to {many}", unit="x", values=growth, at_most=1.5
            ),
        ]
    figures.append(
        Figure(
            name="API: very first start, which makes the schema",
            unit="s",
            values=[seconds for seconds, _ in first_starts],
        )
    )
    figures.append(
        Figure(
            name="API: start to first answer",
            unit="s",
            values=[seconds for seconds, _ in starts],
            at_most=3,
        )
    )
    figures.append(
        Figure(
            name="API: resident memory",
            unit="MB",
            values=[megabytes for _, megabytes in starts],
            at_most=200,
        )
    )
    return report("bench_service", figures)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
