"""Dispatchers on simulated launchers, run in a thread of the test or round by round."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from gradnoise_service.domain.devices import Devices
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Study
from gradnoise_service.search import Storage
from gradnoise_service.store import studies
from gradnoise_service.store.database import Database
from gradnoise_service.usecases.study_folders import StudyFolders
from gradnoise_workers.dispatcher import Dispatcher
from gradnoise_workers.driver import Driver
from gradnoise_workers.launcher import Launcher

ACCURACY = Metric(name="accuracy", direction="maximize", worst=0.0)
WAIT_SECONDS = 60


def submit(database: Database, spec: StudySpec) -> Study:
    with database.session(write=True) as session:
        return studies.submit(session, spec, ACCURACY, owner="ada", now=datetime.now(UTC))


def read(database: Database, study: Study) -> Study:
    with database.session() as session:
        return studies.get(session, study.id, None)


def until(condition: Callable[[], bool]) -> None:
    """Wait until another thread has made a condition on the database true."""
    deadline = threading.Event()
    timer = threading.Timer(WAIT_SECONDS, deadline.set)
    timer.start()
    try:
        while not condition():
            assert not deadline.wait(0.02), "the condition did not become true in time"
    finally:
        timer.cancel()


def make_dispatcher(
    database: Database, storage: Storage, open_launcher: Callable[[], Launcher], **changes: Any
) -> Dispatcher:
    defaults: dict[str, Any] = {
        "id": f"d-{threading.get_ident()}",
        "checkpoints": StudyFolders(url="nowhere"),
        "devices": lambda: Devices(n_cores=2),
        "lease": timedelta(seconds=30),
        "concurrent_studies": 1,
        "now": lambda: datetime.now(UTC),
    }
    slots = changes.pop("slots", 3)
    marks_changed_code = changes.pop("marks_changed_code", False)
    settings = defaults | changes
    driver = Driver(
        database=database,
        storage=storage,
        open_launcher=lambda _study, _source: open_launcher(),
        slots=slots,
        protocol={"formula": "f", "versions": {"gradnoise": "1", "torch": "2"}},
        lease=settings["lease"],
        now=settings["now"],
        marks_changed_code=marks_changed_code,
    )
    return Dispatcher(database=database, storage=storage, driver=driver, **settings)


@contextmanager
def running(
    database: Database, storage: Storage, open_launcher: Callable[[], Launcher], **changes: Any
) -> Iterator[threading.Event]:
    dispatcher = make_dispatcher(database, storage, open_launcher, **changes)
    stop = threading.Event()
    thread = threading.Thread(target=dispatcher.run, args=(stop,))
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(WAIT_SECONDS)
        assert not thread.is_alive()
