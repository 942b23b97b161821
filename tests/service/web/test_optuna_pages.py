"""The Optuna Dashboard's pages are found by our ids and show no control that would write."""

import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient

from browser import browser
from gradnoise_service.dashboard import create_app
from gradnoise_service.domain.study import Study
from gradnoise_service.local import ports
from gradnoise_service.search import Storage
from gradnoise_service.settings import Settings
from gradnoise_service.store import attempts, trials
from gradnoise_service.store.database import Database
from gradnoise_service.web.optuna_pages import HIDDEN
from gradnoise_workers.study import OptunaSync

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def study(workshop: Any, database: Database, storage: Storage) -> Study:
    """A running study with a trial of each arm, both in Optuna; the second search's is number 0."""
    study: Study = workshop.running(n_ended=-1, search={"n_trials": 2, "epochs": 3, "repeats": 2})
    sync = OptunaSync(study, storage)
    with database.session() as session:
        waiting = attempts.waiting(session, study.id, "search")[2:4]
    for opening in waiting:
        number, params = sync.propose(opening)
        with database.session(write=True) as session:
            attempts.start(session, opening.trial.id, params, number, workshop.now)
    sync.save()
    return study


@pytest.fixture
def dashboard(database: Database, storage: Storage, now: datetime) -> TestClient:
    app = create_app(Settings(), database, storage, lambda: now)
    return TestClient(app, base_url="http://127.0.0.1:8001", follow_redirects=False)


def test_our_ids_lead_to_the_pages_of_optuna(
    dashboard: TestClient, study: Study, storage: Storage, database: Database
) -> None:
    def target(path: str) -> str:
        answer = dashboard.get(path)
        assert answer.status_code == 303
        return answer.headers["location"]

    name = f"study 0 ({study.id}) · baseline"
    ids = {s.study_name: s._study_id for s in storage.get_all_studies()}
    assert target(f"/studies/{study.id}/baseline") == f"/dashboard/studies/{ids[name]}"
    with database.session() as session:
        started = trials.latest(session, study.id, 2)
    for trial in started:
        key = study.design.search_key(trial.phase, trial.arm, trial.number)
        shown = f"/dashboard/studies/{ids[study.search_name(key)]}/trials?numbers=0"
        assert target(f"/studies/{study.id}/trials/{trial.id}") == shown
    key = study.design.search_key(started[0].phase, started[0].arm, started[0].number)
    assert storage.get_n_trials(ids[study.search_name(key)]) == 1
    # without a label: the latest search that has a trial
    assert target(f"/studies/{study.id}").startswith("/dashboard/studies/")
    assert dashboard.get(target(f"/studies/{study.id}")).status_code == 200


def test_unknown_studies_and_trials_are_not_found(
    dashboard: TestClient, study: Study, workshop: Any, database: Database
) -> None:
    queued = workshop.queued()
    with database.session() as session:
        waiting = trials.of_study(session, study.id)[-1]
    for path in (
        "/studies/999",
        f"/studies/{2**70}",
        f"/studies/{queued.id}",
        f"/studies/{study.id}/no-arm",
        f"/studies/{study.id}/trials/{waiting.id}",
        f"/studies/{study.id}/trials/{2**70}",
    ):
        answer = dashboard.get(path)
        assert (answer.status_code, answer.json()["title"]) == (404, "Not found")


@pytest.mark.slow
def test_no_control_that_writes_is_visible(
    database: Database, storage: Storage, study: Study, now: datetime, tmp_path: Path
) -> None:
    port = ports.free("127.0.0.1")
    app = create_app(Settings(), database, storage, lambda: now)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    visible = f"""[...document.querySelectorAll({", ".join(HIDDEN)!r})]
        .map(control => control.checkVisibility())"""
    shown: list[bool] = []
    with browser(tmp_path) as page:
        for path in ("/dashboard", f"/studies/{study.id}/baseline search 2"):
            page.open(f"http://127.0.0.1:{port}{path}")
            page.await_text("body", "baseline search 2")
            shown += page.run(visible)
    server.should_exit = True
    thread.join()
    assert shown
    assert not any(shown)
