"""Metrics are in Prometheus's format, need their scope, and are what the dashboard shows."""

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from gradnoise_service.api.latencies import BOUNDS
from gradnoise_service.domain.devices import Devices
from gradnoise_service.store import attempts, dispatchers, leases
from gradnoise_service.store.database import Database
from gradnoise_service.store.dispatchers import DispatcherInfo
from gradnoise_service.store.tables import TrialRow

ROOT = Path(__file__).parents[3]
SAMPLE = re.compile(r'([a-z_]+)(\{(?:[a-z]+="(?:[^"\\\n]|\\.)*",?)*\})? ([0-9.e+-]+)')


def samples(client: TestClient) -> dict[str, float]:
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = answer.text.splitlines()
    found = [SAMPLE.fullmatch(line) for line in lines if not line.startswith("#")]
    assert None not in found
    return {match[1] + (match[2] or ""): float(match[3]) for match in found if match}


def test_metrics_show_queue_trials_devices_and_losses(
    client: TestClient, workshop: Any, database: Database, now: datetime
) -> None:
    study = workshop.running(n_ended=2)
    workshop.queued()
    workshop.cancel(workshop.queued())
    with database.session(write=True) as session:
        info = DispatcherInfo(
            id="dispatcher",
            devices=Devices(n_cores=2, n_gpus=1),
            n_slots=2,
            acquired_until=now + timedelta(hours=1),
        )
        dispatchers.announce(session, info, now)
    found = samples(client)
    assert found['gradnoise_studies{state="running"}'] == 1
    assert found["gradnoise_queue_length"] == 1
    assert 0 < found["gradnoise_queue_age_seconds"] < 60
    assert found['gradnoise_trials{state="complete"}'] == 2
    assert found['gradnoise_trials{state="running"}'] == 1
    assert found['gradnoise_devices{kind="core"}'] == 2
    assert found['gradnoise_devices_busy{kind="gpu"}'] == 1
    assert found['gradnoise_devices_busy{kind="core"}'] == 0
    assert found['gradnoise_attempts_lost_total{outcome="orphaned"}'] == 0
    with database.session(write=True) as session:
        token = session.scalar(select(TrialRow.lease_token).where(TrialRow.state == "running"))
        attempts.retry(session, token, "worker_lost", now, "gone")
        taken = leases.acquire(session, "other", now + timedelta(hours=2), timedelta(hours=1))
        assert taken is not None
        assert taken[0].id == study.id
    found = samples(client)
    assert found['gradnoise_attempts_lost_total{outcome="worker_lost"}'] == 1
    assert found["gradnoise_lease_losses_total"] == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_latencies_are_counted_by_route(client: TestClient) -> None:
    """A route is a template, so that ids and unknown paths make no metrics."""
    for path in ("/v1/studies/1", "/v1/studies/2", "/nowhere", "/nothing"):
        client.get(path)
    found = samples(client)
    route = 'method="GET",route="/v1/studies/{study_id}",status="4xx"'
    assert found[f"gradnoise_request_seconds_count{{{route}}}"] == 2
    assert found[f'gradnoise_request_seconds_bucket{{le="+Inf",{route}}}'] == 2
    buckets = [
        found[f'gradnoise_request_seconds_bucket{{le="{bound}",{route}}}'] for bound in BOUNDS
    ]
    assert buckets == sorted(buckets)
    assert found['gradnoise_request_seconds_count{method="GET",route="other",status="4xx"}'] == 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_metrics_need_their_scope(make_client: Callable[..., TestClient]) -> None:
    admin = make_client("secret", host="0.0.0.0", admin_token="secret")
    for scope, status in (("read", 403), ("metrics", 200)):
        body = {"name": scope, "owner": "ops", "scopes": [scope]}
        token = admin.post("/v1/tokens", json=body).json()["token"]
        headers = {"Authorization": f"Bearer {token}"}
        assert admin.get("/metrics", headers=headers).status_code == status
    admin.headers.pop("Authorization")
    assert admin.get("/metrics").status_code == 401


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_dashboard_and_documentation_know_every_metric(client: TestClient) -> None:
    """No panel shows a metric that does not exist."""
    names = set(re.findall(r"# TYPE (\w+)", client.get("/metrics").text))
    board = json.loads((ROOT / "docker" / "grafana-dashboard.json").read_text(encoding="utf-8"))
    shown = {
        re.sub(r"_(bucket|count|sum)$", "", name)
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"gradnoise_\w+", target["expr"])
    }
    documented = set(re.findall(r"`(gradnoise_\w+)`", (ROOT / "docs" / "rest.md").read_text()))
    assert shown == names
    assert documented == names
