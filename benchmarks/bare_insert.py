"""The reference of a submission: an app of FastAPI and SQLAlchemy that inserts the same row.

`uvicorn benchmarks.bare_insert:app` with GRADNOISE_DATABASE_URL. It checks nothing.
"""

import os
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI

from gradnoise_service.store.database import open_database
from gradnoise_service.store.tables import StudyRow

app = FastAPI()
database = open_database(os.environ["GRADNOISE_DATABASE_URL"])


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "alive"}


@app.post("/studies", status_code=201)
def insert(spec: dict[str, Any]) -> dict[str, int]:
    row = StudyRow(
        owner="local",
        name=spec["name"],
        suite=None,
        state="queued",
        priority=0,
        spec=spec,
        metric={"name": "accuracy", "direction": "maximize", "worst": 0.0},
        protocol={},
        extensions=[],
        created_at=datetime.now(UTC),
        is_settled=False,
        stops=[],
        n_crashes=0,
        n_ended_at_crash=0,
        devices="auto",
        workload=spec["workload"],
        tags=[],
        note="",
    )
    with database.session(write=True) as session:
        session.add(row)
    return {"id": row.id}
