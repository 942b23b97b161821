"""Health checks: the process runs, is ready, or names what is missing."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from starlette.testclient import TestClient

from gradnoise_service.app import create_app
from gradnoise_service.domain.devices import Devices
from gradnoise_service.settings import Settings
from gradnoise_service.store import dispatchers
from gradnoise_service.store.database import Database, open_database
from gradnoise_service.store.dispatchers import DispatcherInfo


def failed(client: TestClient) -> tuple[int, list[str], list[str]]:
    answer = client.get("/readyz")
    checks = answer.json()["checks"]
    return (
        answer.status_code,
        [c["name"] for c in checks if c["ok"]],
        [c["name"] for c in checks if not c["ok"] and c["hint"]],
    )


def test_api_with_a_catalogue_is_ready(client: TestClient) -> None:
    assert failed(client) == (200, ["database", "schema", "catalogue"], [])


def test_api_without_workers_is_alive_but_not_ready(make_client: Callable[..., TestClient]) -> None:
    client = make_client()
    assert client.get("/healthz").json() == {"status": "alive"}
    assert failed(client) == (503, ["database", "schema"], ["catalogue"])


def test_missing_schema_is_named(empty_database_url: str, tmp_path: Path) -> None:
    database = open_database(empty_database_url)
    with TestClient(
        create_app(Settings(home=tmp_path), database), base_url="http://127.0.0.1"
    ) as client:
        assert failed(client) == (503, ["database"], ["schema"])
    database.dispose()


def test_unreachable_database_is_named(tmp_path: Path) -> None:
    database = open_database("postgresql+psycopg://nobody@/nothing?host=/nonexistent")
    with TestClient(
        create_app(Settings(home=tmp_path), database), base_url="http://127.0.0.1"
    ) as client:
        assert failed(client) == (503, [], ["database"])
        assert "nonexistent" not in client.get("/readyz").text
    database.dispose()


def test_live_dispatchers_are_listed(client: TestClient, database: Database, now: datetime) -> None:
    with database.session(write=True) as session:
        for name, seconds in (("dead", -1), ("live", 60)):
            info = DispatcherInfo(
                id=name,
                devices=Devices(n_cores=2),
                n_slots=2,
                acquired_until=now + timedelta(seconds=seconds),
            )
            dispatchers.announce(session, info, now)
    assert [dispatcher["id"] for dispatcher in client.get("/readyz").json()["dispatchers"]] == [
        "live"
    ]
