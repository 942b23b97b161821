"""Fixtures: a service whose presets are a small paper table and a single study."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gradnoise_service import presets
from gradnoise_service.client import Client
from gradnoise_service.domain.study import Trial
from gradnoise_service.presets import loading
from gradnoise_service.reproduction.writing import write
from gradnoise_service.store.database import Database

STUDY = {
    "workload": "mlp",
    "smallest_difference": 0.01,
    "space": {"lr": {"choices": [0.1, 0.01]}},
    "arms": [
        {"name": "baseline", "technique": "none"},
        {"name": "noisy", "technique": "annealed", "space": {"eta": 0.01, "gamma": 0.55}},
        {"name": "noisy-1.0", "technique": "annealed", "space": {"eta": 1.0, "gamma": 0.55}},
    ],
    "confirm": {"n_seeds": 6, "epochs": 8, "thresholds": [0.6]},
    "seed": 1,
}
MEAN = {"statistic": "mean", "values": {"baseline": 0.431, "noisy": 0.527}}
SHARE = {
    "statistic": "reached",
    "threshold": 0.6,
    "values": {"baseline": 0.01, "noisy": 0.05},
    "runs": 100,
    "source": "Section | 4",
}
TABLE = {
    "name": "paper-table-9",
    "description": "A table with *marks* of Markdown | and a bar.",
    "study": STUDY,
    "rows": [
        {
            "name": "a",
            "title": "Row | A",
            "paper": [{"statistic": "best", "values": {"baseline": 0.899, "noisy": 0.967}}, MEAN],
        },
        {"name": "b", "title": "Row B", "paper": [SHARE], "study": {"seed": 2}},
        {"name": "c", "title": "Row C", "paper": [SHARE], "study": {"seed": 3}},
        {"name": "d", "title": "Row D", "paper": [MEAN], "study": {"seed": 4}},
        {
            "name": "e",
            "title": "Row E",
            "paper": [MEAN],
            "study": {"seed": 5, "options": {"depth": 3}},
        },
    ],
    "scales": {
        "quick": {"options": {"dataset": "digits"}, "confirm": {"n_seeds": 4, "epochs": 2}},
        "full": {},
    },
}
GAINS = {"baseline": 0.0, "noisy": 0.2, "noisy-1.0": 0.0}


def value(trial: Trial) -> float:
    return 0.5 + GAINS[trial.arm] + 0.001 * (trial.number % 3)


@pytest.fixture
def client(
    api: Any, whole_catalogue: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    """A client of a service whose presets are the table and a single study."""
    folder = tmp_path / "presets"
    folder.mkdir()
    (folder / "paper-table-9.yaml").write_text(json.dumps(TABLE), encoding="utf-8")
    (folder / "demo.yaml").write_text(presets.text("demo"), encoding="utf-8")
    monkeypatch.setattr(loading, "FILES", folder)
    monkeypatch.setenv("GRADNOISE_URL", api.url)
    with Client(api.url) as client:
        yield client


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the database of `ran` is kept after the first test that needs it."""
    return tmp_path_factory.mktemp("reproduction") / "gradnoise.db"


@pytest.fixture
def ran(client: Client, worker: Any, live_database: Database, stored: Path) -> Client:
    """The client after row a ran at both scales and b at quick.

    Row c is queued at quick, and a different study has the name of row d.
    """
    assert live_database.url.database is not None
    file = Path(live_database.url.database)
    if stored.exists():
        copy_database(stored, file)
        return client
    full, quick = (client.preset("paper-table-9", scale) for scale in ("full", "quick"))
    for spec in (full[0], quick[0], quick[1], full[3] | {"seed": 99}):
        worker.run_all(client.submit(spec).id, value)
    client.submit(quick[2])
    copy_database(file, stored)
    return client


@pytest.fixture
def page(ran: Client, tmp_path: Path) -> str:
    """The page about the studies of `ran`."""
    assert write(ran, tmp_path / "page.md") == (5, 2)
    return (tmp_path / "page.md").read_text(encoding="utf-8")


def copy_database(source: Path, target: Path) -> None:
    """Copy a SQLite database into another, which may be open."""
    with closing(sqlite3.connect(source)) as from_, closing(sqlite3.connect(target)) as to:
        from_.backup(to)
