"""Verbs over HTTP: each has its effect once, and its error where the state does not allow it."""

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_each_verb_may_be_repeated_and_is_refused_by_other_states(
    client: TestClient, workshop: Any
) -> None:
    failed = workshop.failed()
    running, queued = workshop.running(), workshop.queued()

    def post(study_id: int, verb: str, **body: object) -> tuple[int, str]:
        answer = client.post(f"/v1/studies/{study_id}/{verb}", json=body or None)
        plain = answer.json()
        return answer.status_code, plain["state"] if answer.is_success else plain["detail"]

    for verb, study_id, state in (
        ("pause", queued.id, "paused"),
        ("priority", queued.id, "paused"),
        ("resume", queued.id, "queued"),
        ("pause", running.id, "pausing"),
        ("resume", running.id, "running"),
        ("cancel", running.id, "cancelled"),
        ("retry", failed.id, "queued"),
    ):
        body = {"priority": 7} if verb == "priority" else {}
        assert [post(study_id, verb, **body) for _ in range(2)] == [(200, state)] * 2
    assert client.get(f"/v1/studies/{queued.id}").json()["priority"] == 7
    assert post(running.id, "resume") == (
        409,
        "Study 'study 1' is cancelled; only a study that is pausing or paused can be resumed.",
    )
    assert post(running.id, "priority", priority=1)[0] == 409
    for priority in (101, 1.5, "high"):
        assert post(queued.id, "priority", priority=priority)[0] == 422
    assert post(99, "pause") == (404, "There is no study 99.")
    refused = client.post(f"/v1/studies/{running.id}/pause").json()
    assert refused["type"] == "/docs#not-allowed"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_verbs_of_another_owner_find_no_study(
    make_client: Callable[..., TestClient], workshop: Any
) -> None:
    admin = make_client("secret", host="0.0.0.0", admin_token="secret")
    bob = admin.post("/v1/tokens", json={"name": "b", "owner": "bob"}).json()["token"]
    study = workshop.queued(owner="ada")
    client = make_client(bob, host="0.0.0.0", admin_token="secret")
    for verb in ("pause", "resume", "stop", "cancel", "retry", "priority"):
        body = {"priority": 1} if verb == "priority" else None
        assert client.post(f"/v1/studies/{study.id}/{verb}", json=body).status_code == 404
