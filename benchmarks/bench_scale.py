"""Large searches: CPU time and memory of the dispatcher a trial, and of a proposal of TPE.

A study runs on SQLite with 64 slots whose trials follow a formula, so that the time is that of
proposing, storing and deciding. `python -m benchmarks.bench_scale N` runs N trials in place of
20,000.
"""

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import numpy as np
import psutil
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from benchmarks.harness import Figure, report
from gradnoise_service import logs
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.prepare_database import prepare_database
from gradnoise_service.search import open_storage, proposals
from gradnoise_service.settings import Settings
from gradnoise_service.store.database import open_database

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import study_runs
from formula_launcher import FormulaLauncher

N_TRIALS = 20_000
N_SLOTS = 64
N_PARTS = 8
SPACE: dict[str, BaseDistribution] = {name: FloatDistribution(-1, 1) for name in "xyz"}
N_SEARCHED, N_SURFACES, LAG = 450, 8, 8


def main() -> bool:
    """Measure and compare with the bars; return whether all hold."""
    n_trials = int(sys.argv[1]) if len(sys.argv) > 1 else N_TRIALS
    logs.configure(Settings(), "dispatcher")
    return report("bench_scale", [*dispatcher(n_trials), *proposing(), *regrets()])


def dispatcher(n_trials: int) -> Iterator[Figure]:
    """Yield the cost of a trial in each part of a study, and the memory at its ends."""
    costs, megabytes = [], []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        url = f"sqlite:///{folder}/gradnoise.db"
        prepare_database(url)
        database, now = open_database(url), datetime.now(UTC)
        study_runs.submit(database, _spec(n_trials), now)
        launcher = FormulaLauncher(slots=N_SLOTS)
        run = study_runs.start(database, open_storage(url), launcher, now)
        n_before, before, has_ended = 0, time.process_time(), False
        while not has_ended:
            has_ended = run.step(0.0)
            n = len(launcher.admitted)
            if n - n_before >= n_trials // N_PARTS:
                costs.append((time.process_time() - before) / (n - n_before) * 1_000)
                megabytes.append(psutil.Process().memory_info().rss / 1e6)
                n_before, before = n, time.process_time()
        database.dispose()
    yield Figure(name=f"dispatcher: a trial of {n_trials:,}", unit="ms", values=costs, at_most=5)
    growth = [megabytes[-1] / megabytes[0]]
    yield Figure(name="dispatcher: growth of memory", unit="x", values=growth, at_most=1.25)


def _spec(n_trials: int) -> StudySpec:
    return StudySpec.model_validate(
        {
            "name": "large",
            "workload": "mlp",
            "smallest_difference": 0.02,
            "space": {"lr": {"low": 0.001, "high": 1.0, "log": True}},
            "search": {
                "n_trials": n_trials // 2,
                "repeats": 1,
                "epochs": 1,
                "sampler": "random",
                "rerun": {"n_seeds": 0},
            },
            "confirm": {"n_seeds": 5},
            "seed": 1,
        }
    )


def proposing() -> Iterator[Figure]:
    """Yield the CPU time of a proposal of TPE after few and after many trials."""
    draw = np.random.default_rng(1)
    for n in (100, 10_000):
        visible = [_ended(number, draw.uniform(-1, 1, 3), draw) for number in range(n)]
        times = []
        for number in range(n, n + 15):
            before = time.process_time()
            _propose(1, number, visible)
            times.append((time.process_time() - before) * 1_000)
        bar = 5 if n == 10_000 else None
        yield Figure(name=f"TPE: proposal after {n:,} trials", unit="ms", values=times, at_most=bar)


def regrets() -> Iterator[Figure]:
    """Yield the regret of searches in which TPE sees every trial, and of those that are thinned.

    It is |x - optimum|^2 of the setting with the best value, which is measured with a standard
    deviation of 0.02, in thousandths; and its mean over the last 100 proposals.
    """
    for name, sees in (("every trial", _every), ("thinned", proposals.thinned)):
        with mock.patch.object(proposals, "thinned", sees):
            found = [_regret(surface) for surface in range(N_SURFACES)]
        yield Figure(name=f"TPE: regret, {name}", unit="1e-3", values=[best for best, _ in found])
        yield Figure(
            name=f"TPE: mean of the last 100, {name}",
            unit="1e-3",
            values=[last for _, last in found],
        )


def _every(trials: Sequence[FrozenTrial], _direction: str) -> Sequence[FrozenTrial]:
    return trials


def _regret(surface: int) -> tuple[float, float]:
    draw = np.random.default_rng(surface)
    optimum = draw.uniform(-0.6, 0.6, 3)
    trials: list[FrozenTrial] = []
    misses: list[float] = []
    for number in range(N_SEARCHED):
        proposed = _propose(surface, number, trials[: max(0, number - LAG)])
        point = np.array([proposed.params[name] for name in SPACE])
        trials.append(_ended(number, point, draw, optimum))
        misses.append(float(np.sum((point - optimum) ** 2)) * 1_000)
    best = max(range(N_SEARCHED), key=lambda number: trials[number].value or 0.0)
    return misses[best], float(np.mean(misses[-100:]))


def _propose(seed: int, number: int, visible: Sequence[FrozenTrial]) -> FrozenTrial:
    return proposals.propose("tpe", SPACE, "maximize", seed=seed, number=number, visible=visible)


def _ended(
    number: int, point: np.ndarray, draw: np.random.Generator, optimum: np.ndarray | float = 0.0
) -> FrozenTrial:
    trial = create_trial(
        state=TrialState.COMPLETE,
        params=dict(zip(SPACE, map(float, point), strict=True)),
        distributions=SPACE,
        value=float(-np.sum((point - optimum) ** 2) + 0.02 * draw.standard_normal()),
    )
    trial.number = number
    return trial


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
