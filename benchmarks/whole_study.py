"""A whole study against the same trials under Ray Tune, and the driver's cost with many trials.

Ray Tune is used as its guides show: a function that reports each epoch, or a class whose actors are
reused; one CPU per trial, one thread per process, and defaults otherwise, except that it prints no
table. On each side Ray runs before the clock starts, and results are stored on disk. The service
does more: a tenth of its trials are confirm trials, which are also measured on test data, and the
study ends with a verdict.
"""

import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any

import ray
import torch
from ray import tune

from benchmarks.bench_service import PATIENCE_SECONDS, complete, seconds_between, service
from benchmarks.crew import variables
from benchmarks.harness import Figure, install, ratios
from benchmarks.workloads import ENTRY_POINTS
from gradnoise.training.single import SingleTrainer
from gradnoise.training.trial import Measurement, TrialSpec

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 2
N_TRIALS = 64
N_SEEDS = 3
LR, ETA, GAMMA = (0.003, 0.1), [0.01, 0.3, 1.0], (0.3, 0.9)
HAS_MNIST = Path(os.environ.get("GRADNOISE_DATA", "/nowhere"), "mnist").exists()
OPTIONS: dict[str, object] = (
    {"dataset": "mnist", "train_examples": 10_000} if HAS_MNIST else {"dataset": "digits"}
)
EPOCHS = 10 if HAS_MNIST else 84  # about 1,000 updates

FEW, MANY = 64, 1_024
DRIVER_SECONDS = 10.0


def figures() -> Iterator[Figure]:
    yield from against_ray_tune()
    yield from driver()


def against_ray_tune() -> Iterator[Figure]:
    """Compare the wall time of 64 trials, half of them with noise, by random search."""
    seconds: dict[str, list[float]] = {
        "Ray Tune by default": [],
        "Ray Tune with reuse_actors": [],
        "gradnoise": [],
    }
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, ray_running():
            seconds["Ray Tune by default"].append(
                by_ray_tune(train, Path(folder), reuse_actors=False)
            )
            seconds["Ray Tune with reuse_actors"].append(
                by_ray_tune(Reused, Path(folder), reuse_actors=True)
            )
        with (
            tempfile.TemporaryDirectory(prefix="bench-") as folder,
            service(Path(folder), {"OMP_NUM_THREADS": "1"}) as (client, _),
        ):
            done = complete(
                client,
                study("against Ray Tune", "mlp", OPTIONS, N_TRIALS // 2 - N_SEEDS, N_SEEDS, EPOCHS),
            )
            seconds["gradnoise"].append(seconds_between(done, "created_at", "finished_at"))
    for name, bar in (("Ray Tune by default", 3.0), ("Ray Tune with reuse_actors", 1.7)):
        label = f"{N_TRIALS} trials, 20x50 on {OPTIONS['dataset']}: times as fast as {name}"
        yield Figure(
            name=label, unit="x", values=ratios(seconds[name], seconds["gradnoise"]), at_least=bar
        )
    for name, values in seconds.items():
        yield Figure(name=f"  {name}", unit="s", values=values)


def study(
    name: str,
    workload: str,
    options: Mapping[str, object],
    n_search: int,
    n_seeds: int,
    epochs: int,
) -> dict[str, Any]:
    """Return a study of two arms, each with n_search search trials and n_seeds confirm trials."""
    low, high = LR
    return {
        "name": name,
        "workload": workload,
        "options": options,
        "smallest_difference": 0.01,
        "space": {"lr": {"low": low, "high": high, "log": True}},
        "arms": [
            {"name": "baseline", "technique": "none"},
            {
                "name": "noisy",
                "technique": "annealed",
                "space": {"eta": {"choices": ETA}, "gamma": {"low": GAMMA[0], "high": GAMMA[1]}},
            },
        ],
        "search": {
            "n_trials": n_search,
            "repeats": 1,
            "epochs": epochs,
            "sampler": "random",
            "rerun": {"n_seeds": 0},
        },
        "confirm": {"n_seeds": n_seeds},
        "seed": 1,
    }


@contextmanager
def ray_running() -> Iterator[None]:
    with variables({"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}):
        ray.init(
            num_cpus=os.cpu_count(),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        try:
            yield
        finally:
            ray.shutdown()


def by_ray_tune(trainable: Any, folder: Path, *, reuse_actors: bool) -> float:
    """Return the seconds in which Ray Tune runs the trials."""
    space = {
        "technique": tune.grid_search(["none", "annealed"]),
        "lr": tune.loguniform(*LR),
        "eta": tune.choice(ETA),
        "gamma": tune.uniform(*GAMMA),
        "seed": tune.randint(0, 2**31),
    }
    tuner = tune.Tuner(
        trainable,
        param_space=space,
        tune_config=tune.TuneConfig(num_samples=N_TRIALS // 2, reuse_actors=reuse_actors),
        run_config=tune.RunConfig(
            storage_path=str(folder), stop={"training_iteration": EPOCHS}, verbose=0
        ),
    )
    start = perf_counter()
    results = tuner.fit()
    seconds = perf_counter() - start
    n_trained = sum(
        result.metrics["training_iteration"] == EPOCHS for result in results if result.metrics
    )
    if results.num_errors or n_trained != N_TRIALS:
        raise RuntimeError(
            f"Ray Tune trained {n_trained} of {N_TRIALS} trials to their end, with errors: "
            f"{results.errors[:1]}"
        )
    return seconds


def train(config: dict[str, Any]) -> None:
    trainer = opened(config)
    for _ in range(EPOCHS):
        tune.report(epoch(trainer))


class Reused(tune.Trainable):
    """The same trial as a class, whose actor runs trial after trial."""

    def setup(self, config: dict[str, Any]) -> None:
        self._trainer = opened(config)

    def step(self) -> dict[str, float]:
        return epoch(self._trainer)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._trainer = opened(new_config)
        return True

    def save_checkpoint(self, _folder: str) -> dict[str, Any]:
        return {}  # Ray Tune saves every class at its end


def opened(config: Mapping[str, Any]) -> SingleTrainer:
    """Return a reference trainer with the trial in its slot."""
    torch.set_num_threads(1)
    names = ("lr", "eta", "gamma") if config["technique"] == "annealed" else ("lr",)
    spec = TrialSpec(
        key="the trial",
        workload="mlp",
        options=OPTIONS,
        techniques=(config["technique"],),
        params={name: config[name] for name in names},
        seed=int(config["seed"]),
        budget_epochs=EPOCHS,
    )
    trainer = SingleTrainer()
    trainer.admit(spec)
    return trainer


def epoch(trainer: SingleTrainer) -> dict[str, float]:
    """Train an epoch and return its values; after a divergence, the worst accuracy."""
    values = [event.values for event in trainer.advance() if isinstance(event, Measurement)]
    return dict(values[0]) if values else {"validation_accuracy": 0.0}


def driver() -> Iterator[Figure]:
    """Compare the dispatcher's cost of a trial's epoch with few and with many full slots."""
    cost = {n: [microseconds_a_report(n)] for n in (FEW, MANY)}
    yield Figure(
        name=f"the driver's cost of a trial's epoch, {MANY:,} slots against {FEW}",
        unit="x",
        values=ratios(cost[MANY], cost[FEW]),
        at_most=1.5,
    )
    for n, values in cost.items():
        yield Figure(name=f"  with {n:,} slots", unit="us", values=values)


def microseconds_a_report(n: int) -> float:
    """Return the dispatcher's processor time per stored epoch, with n cheap trials running."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        site = install(Path(folder) / "site", "gradnoise_benchmarks", ENTRY_POINTS)
        slots = -(-n // (os.cpu_count() or 1))
        settings = {
            "PYTHONPATH": os.pathsep.join([site, str(ROOT)]),
            "GRADNOISE_SLOTS": str(slots),
            "OMP_NUM_THREADS": "1",
        }
        database = Path(folder) / "gradnoise.db"
        with service(Path(folder), settings) as (client, process):
            answer = client.post(
                "/v1/studies", json=study("endless", "line", {}, n // 2, 2, 1_000_000)
            )
            answer.raise_for_status()
            deadline = monotonic() + PATIENCE_SECONDS
            while count(database, "gradnoise_trial WHERE state = 'running'") < n:
                if monotonic() > deadline:
                    raise TimeoutError(f"{n} trials were not running within {PATIENCE_SECONDS:g} s")
                sleep(0.2)
            before = cpu_seconds(process), count(database, "gradnoise_measurement")
            sleep(DRIVER_SECONDS)
            after = cpu_seconds(process), count(database, "gradnoise_measurement")
            client.post(f"{answer.json()['links']['self']}/cancel").raise_for_status()
    return (after[0] - before[0]) / (after[1] - before[1]) * 1e6


def count(database: Path, rows: str) -> int:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        (n,) = connection.execute(f"SELECT count(*) FROM {rows}").fetchone()
    return int(n)


def cpu_seconds(process: int) -> float:
    """Return the processor time of a process, without its children."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
