"""A service is ready when it can start a study."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gradnoise_service.client import Client
from gradnoise_service.domain.devices import Devices
from gradnoise_service.local import readiness
from gradnoise_service.local.errors import NotReadyError
from gradnoise_service.local.readiness import wait_until_ready
from gradnoise_service.store import dispatchers
from gradnoise_service.store.database import Database

LEASE = timedelta(seconds=30)


def announce(database: Database, id: str, *, at: datetime) -> None:
    with database.session(write=True) as session:
        devices = Devices(n_gpus=0, n_cores=1, faults=())
        info = dispatchers.DispatcherInfo(
            id=id, devices=devices, n_slots=1, acquired_until=at + LEASE
        )
        dispatchers.announce(session, info, at)


def test_a_started_service_is_ready_with_a_dispatcher_of_its_own(
    api: Any, live_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease that a killed service has left does not count, nor another service's."""
    monkeypatch.setattr(readiness, "READY_SECONDS", 0.2)
    monkeypatch.setattr(readiness, "POLL_SECONDS", 0.05)
    announce(live_database, "other-7-a1b2c3", at=datetime.now(UTC))
    has_dispatcher = "ours-7-a1b2c3".__eq__
    with Client(api.url) as client:
        wait_until_ready(client, tmp_path)
        with pytest.raises(NotReadyError) as refused:
            wait_until_ready(client, tmp_path, has_dispatcher=has_dispatcher)
        assert "The dispatcher of this service does not run yet." in str(refused.value.details)
        announce(live_database, "ours-7-a1b2c3", at=datetime.now(UTC))
        wait_until_ready(client, tmp_path, has_dispatcher=has_dispatcher)
