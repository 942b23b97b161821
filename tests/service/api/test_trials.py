"""Trials are listed in pages by id, with filters; measurements belong to a trial of the study."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from gradnoise_service.domain.study import Measurement
from gradnoise_service.store import measurements
from gradnoise_service.store.database import Database


def test_pages_show_every_trial_once_in_order(client: TestClient, workshop: Any) -> None:
    study = workshop.running(n_ended=3)
    address, seen = f"/v1/studies/{study.id}/trials?limit=3", []
    while address:
        page = client.get(address).json()
        seen += page["items"]
        address = page["next"]
    assert [(trial["arm"], trial["number"]) for trial in seen] == [
        (arm, number) for number in range(4) for arm in ("baseline", "noisy")
    ]
    assert seen[0]["params"] == {"lr": 0.01}
    assert seen[0]["seed"] == seen[1]["seed"]


def test_filters_hold_on_every_page(client: TestClient, workshop: Any) -> None:
    study = workshop.running(n_ended=5)
    here = f"/v1/studies/{study.id}/trials"
    page = client.get(f"{here}?arm=baseline&phase=search&state=complete&limit=2").json()
    rest = client.get(page["next"]).json()
    assert [(trial["arm"], trial["state"]) for trial in page["items"] + rest["items"]] == [
        ("baseline", "complete")
    ] * 3
    assert rest["next"] is None
    assert client.get(f"{here}?phase=confirm").json()["items"] == []
    assert client.get(f"{here}?arm=nobody").json()["items"] == []


@pytest.mark.parametrize(
    "query", ["arm=%00", "phase=later", "state=lost", "limit=1001", "after=-1"]
)
def test_illegal_filter_is_refused(client: TestClient, workshop: Any, query: str) -> None:
    study = workshop.running()
    assert client.get(f"/v1/studies/{study.id}/trials?{query}").status_code == 422


def test_measurements_are_listed_by_epoch(
    client: TestClient, workshop: Any, database: Database
) -> None:
    study = workshop.running()
    trial = client.get(f"/v1/studies/{study.id}/trials").json()["items"][0]["id"]
    rows = [
        Measurement(
            trial_id=trial,
            epoch=epoch,
            values={"train_loss": None if epoch == 2 else 0.5},
            seconds=0.1,
        )
        for epoch in (1, 2)
    ]
    with database.session(write=True) as session:
        measurements.record(session, rows)
    shown = client.get(f"/v1/studies/{study.id}/trials/{trial}/measurements").json()["items"]
    assert [(row["epoch"], row["values"]) for row in shown] == [
        (1, {"train_loss": 0.5}),
        (2, {"train_loss": None}),
    ]


def test_trial_of_another_study_is_not_found(client: TestClient, workshop: Any) -> None:
    """Otherwise an owner could read the measurements of other owners by guessing ids."""
    first = workshop.running()
    other = workshop.queued()
    trial = client.get(f"/v1/studies/{first.id}/trials").json()["items"][0]["id"]
    answer = client.get(f"/v1/studies/{other.id}/trials/{trial}/measurements")
    assert (answer.status_code, answer.json()["detail"]) == (
        404,
        f"Study {other.id} has no trial {trial}.",
    )
