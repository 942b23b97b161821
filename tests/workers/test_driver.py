"""A driver runs an acquired study to its end, or to the error that ends it."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from formula_launcher import FormulaLauncher
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric
from gradnoise_service.search import Storage
from gradnoise_service.store import leases, studies, trials
from gradnoise_service.store.database import Database
from gradnoise_workers.driver import Driver


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_resumed_study_whose_source_cannot_be_imported_fails_with_the_error(
    database: Database, storage: Storage, make_spec: Callable[..., StudySpec]
) -> None:
    """It is no lost worker, which would be tried again."""
    now = datetime.now(UTC)
    launcher = FormulaLauncher(import_fault="train.py, line 3: ImportError: no torch_extras.")
    metric = Metric(name="accuracy", direction="maximize", worst=0.0)
    with database.session(write=True) as session:
        study = studies.submit(session, make_spec(), metric, owner="ada", now=now)
        trials.declare(session, study.id, study.design.trials("search"))
        acquired = leases.acquire(session, "d", now, timedelta(seconds=60))
    assert acquired is not None
    Driver(
        database=database,
        storage=storage,
        open_launcher=lambda _source: launcher,
        slots=3,
        protocol={"versions": {}},
        device=lambda: "formula",
        lease=timedelta(seconds=60),
        now=lambda: datetime.now(UTC),
    ).drive(*acquired, threading.Event())
    with database.session() as session:
        ended = studies.get(session, study.id, None)
        states = {trial.state for trial in trials.of_study(session, study.id)}
    assert (ended.state, states, launcher.admitted) == ("failed", {"cancelled"}, [])
    assert ended.error == (
        "The code of the study cannot be imported.\ntrain.py, line 3: ImportError: no torch_extras."
    )
