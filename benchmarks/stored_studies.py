"""A database with many studies, as months of use leave it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import JSON, bindparam, insert, text

from gradnoise.workloads import catalogue
from gradnoise_service import presets
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.prepare_database import prepare_database
from gradnoise_service.store import catalogues, tables
from gradnoise_service.store.database import Session, open_database

N_RUNNING, N_QUEUED = 10, 50
COMPARISON = {"differences": [{"effects": list(range(2_000))}]}
"""Of the size that comparisons have, about 10 kB."""
MEASURED = {"validation_accuracy": 0.5, "validation_loss": 1.5, "test_accuracy": 0.5}


def build(url: str, n_studies: int, n_trials: int, n_epochs: int) -> None:
    """Store studies of one owner with complete trials: the last run, those before are queued."""
    prepare_database(url)
    database = open_database(url)
    spec = StudySpec.model_validate(presets.load("demo")[0]).model_dump(mode="json")
    now = datetime.now(UTC)
    with database.session(write=True) as session:
        catalogues.publish(session, catalogue.document(), now)
        for first in range(0, n_studies, 1_000):
            numbers = range(first, min(first + 1_000, n_studies))
            rows = [_study(spec, i, n_studies - i, now) for i in numbers]
            session.execute(insert(tables.StudyRow), rows)
        _add_trials(session, n_trials, n_epochs)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    database.dispose()


def _study(spec: dict[str, Any], i: int, from_end: int, now: datetime) -> dict[str, Any]:
    is_running = from_end <= N_RUNNING
    is_queued = not is_running and from_end <= N_RUNNING + N_QUEUED
    is_complete = not (is_running or is_queued)
    return {
        "owner": "local",
        "name": f"study {i}",
        "state": "running" if is_running else "queued" if is_queued else "complete",
        "priority": 0,
        "spec": spec | {"name": f"study {i}"},
        "metric": {"name": "accuracy", "direction": "maximize", "worst": 0.0},
        "protocol": {},
        "comparison": COMPARISON if is_complete else None,
        "verdict": "helps" if is_complete else None,
        "extensions": [],
        "created_at": now - timedelta(minutes=from_end),
        "started_at": None if is_queued else now - timedelta(minutes=from_end),
        "finished_at": now if is_complete else None,
        "acquired_until": now + timedelta(days=1) if is_running else None,
        "devices": "auto",
        "workload": spec["workload"],
        "tags": [],
        "note": "",
    }


def _add_trials(session: Session, n_trials: int, n_epochs: int) -> None:
    """Insert the trials of every study but the queued, and their measurements, in SQL."""
    numbers = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :n)"
    session.execute(
        text(
            "INSERT INTO gradnoise_trial (study_id, phase, arm, number, seed, budget_epochs, state,"
            " params, value, diverged, epochs, n_attempts, device_seconds, started_at, finished_at)"
            f" {numbers} SELECT s.id, 'search', CASE i % 2 WHEN 0 THEN 'baseline' ELSE 'noisy' END,"
            " i / 2, i, :epochs, 'complete', '{\"lr\": 0.1}', 0.5, :no, :epochs, 1, 1.5,"
            " s.created_at, s.created_at FROM gradnoise_study s CROSS JOIN n"
            " WHERE s.state <> 'queued'"
        ),
        {"n": n_trials, "epochs": n_epochs, "no": False},
    )
    session.execute(
        text(
            'INSERT INTO gradnoise_measurement (trial_id, epoch, "values", seconds)'
            f" {numbers} SELECT t.id, i + 1, :values, 0.1 FROM gradnoise_trial t CROSS JOIN n"
        ).bindparams(bindparam("values", MEASURED, type_=JSON)),
        {"n": n_epochs},
    )
