"""Time and memory of a report: reading the study, comparing, drawing and writing the page.

Each report is made in a new process, like the first report of an API, so its memory includes the
imports. Each trial has 50 measured epochs, and there are 20 confirm seeds; half of the interim
study's trials have not ended.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.harness import Figure, report

ROUNDS = 3
EPOCHS = 50
N_SEEDS = 20


def main() -> bool:
    """Measure and compare with the bars; return whether all hold."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for n in (100, 1_000, 5_000):
            path = Path(folder) / f"{n}.db"
            build(path, n, is_interim=n == 100)
            runs = [measured(path) for _ in range(ROUNDS)]
            name = f"{'interim, ' if n == 100 else ''}2 arms x {n} trials"
            largest = n == 5_000
            figures += [
                Figure(
                    name=f"first report, {name}",
                    unit="s",
                    values=[r["first"] for r in runs],
                    at_most=10 if largest else None,
                ),
                Figure(
                    name=f"next report, {name}",
                    unit="s",
                    values=[r["next"] for r in runs],
                    at_most=1 if n == 100 else None,
                ),
                Figure(
                    name=f"peak memory, {name}",
                    unit="MB",
                    values=[r["memory"] for r in runs],
                    at_most=500 if largest else None,
                ),
                Figure(
                    name=f"HTML, {name}",
                    unit="MB",
                    values=[r["html"] for r in runs],
                    at_most=5 if largest else None,
                ),
            ]
    return report("bench_report", figures)


def measured(path: Path) -> dict[str, float]:
    """Make the report twice in a new process."""
    child = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench_report", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(child.stdout)
    return found


def child(path: str) -> None:
    """Print time and memory of two reports in a row."""
    started = time.perf_counter()
    from gradnoise_service.compare.assembly import compare
    from gradnoise_service.report import html
    from gradnoise_service.store import measurements, studies, trials
    from gradnoise_service.store.database import open_database

    database = open_database(f"sqlite:///{path}")

    def page() -> int:
        with database.session() as session:
            study = studies.get(session, 1, None)
            known = trials.of_study(session, 1)
            epochs = measurements.mean_curves(session, 1, study.metric.name)
        comparison = compare(study.design, study.metric, known, protocol={}, epochs=epochs)
        return len(html.render(study, comparison).encode())

    size = page()
    first = time.perf_counter() - started
    started = time.perf_counter()
    page()
    seconds = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000
    print(json.dumps({"first": first, "next": seconds, "memory": memory, "html": size / 1e6}))


def build(path: Path, n_trials: int, *, is_interim: bool) -> None:
    """Store a study whose trials have values drawn with a seed."""
    from sqlalchemy import insert, select, update

    from gradnoise_service.domain.design import Design
    from gradnoise_service.domain.spec import StudySpec
    from gradnoise_service.domain.study import Metric
    from gradnoise_service.prepare_database import prepare_database
    from gradnoise_service.store import studies, tables, trials
    from gradnoise_service.store.database import open_database

    prepare_database(f"sqlite:///{path}")
    database = open_database(f"sqlite:///{path}")
    rng = np.random.default_rng(n_trials)
    now = datetime.now(UTC)
    spec = StudySpec.model_validate(
        {
            "name": "a study",
            "workload": "mlp",
            "smallest_difference": 0.02,
            "space": {"lr": {"low": 0.001, "high": 1.0, "log": True}},
            "search": {"n_trials": n_trials, "epochs": EPOCHS, "sampler": "random"},
            "confirm": {"n_seeds": N_SEEDS},
            "seed": 1,
        }
    )
    noise = {"eta": 0.3, "gamma": 0.55}
    with database.session(write=True) as session:
        studies.submit(
            session,
            spec,
            Metric(name="accuracy", direction="maximize", worst=0.0),
            owner="ada",
            now=now,
        )
        trials.declare(session, 1, Design.of(spec).trials("search"))
        declared = trials.of_study(session, 1)
        row = {
            k: v
            for k, v in session.execute(select(tables.TrialRow.__table__))
            .mappings()
            .first()
            .items()
            if k != "id"
        }
        confirm = [
            row
            | {
                "phase": "confirm",
                "arm": arm.name,
                "number": i,
                "params": {"lr": 0.1} | (noise if i else {}),
                "seed": i,
                "state": "complete",
            }
            | {
                "value": float(rng.normal(0.8 + 0.05 * k, 0.03)),
                "epochs": EPOCHS,
                "device_seconds": 5.0,
            }
            for k, arm in enumerate(spec.arms)
            for i in range(N_SEEDS)
        ]
        for trial in declared[: len(declared) // 2] if is_interim else declared:
            drawn = (
                {"eta": float(rng.choice([0.01, 0.3, 1.0])), "gamma": float(rng.uniform(0.3, 0.9))}
                if trial.arm == "noisy"
                else {}
            )
            lr = float(10 ** rng.uniform(-3, 0))
            diverged = bool(lr > 0.5 and rng.random() < 0.5)
            ended = {
                "state": "complete",
                "params": {"lr": lr} | drawn,
                "value": 0.0 if diverged else float(rng.normal(0.8 - (lr - 0.1) ** 2, 0.05)),
            }
            statement = update(tables.TrialRow).where(tables.TrialRow.id == trial.id)
            session.execute(
                statement.values(**ended, diverged=diverged, epochs=EPOCHS, device_seconds=5.0)
            )
        if not is_interim:
            session.execute(insert(tables.TrialRow), confirm)
        known = trials.of_study(session, 1)
        for trial in known:
            if trial.has_ended:
                ratio = (
                    {"noise_to_gradient": float(rng.lognormal())} if trial.arm == "noisy" else {}
                )
                rows = [
                    {
                        "trial_id": trial.id,
                        "epoch": e,
                        "values": {"validation_accuracy": 0.8 - 0.7 / e} | ratio,
                        "seconds": 0.1,
                    }
                    for e in range(1, EPOCHS + 1)
                ]
                session.execute(insert(tables.MeasurementRow), rows)
    database.dispose()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child(sys.argv[1])
    else:
        sys.exit(0 if main() else 1)
