"""Trials are listed in pages by id, with filters; measurements belong to a trial of the study."""

from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from gradnoise_service.domain.study import Measurement
from gradnoise_service.store import attempts, logs, measurements
from gradnoise_service.store.database import Database
from gradnoise_service.store.tables import AttemptRow


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


def test_attempts_and_logs_are_those_of_the_trial(
    client: TestClient, workshop: Any, database: Database
) -> None:
    study = workshop.running(n_ended=0)
    [row] = client.get(f"/v1/studies/{study.id}/trials?state=running").json()["items"]
    here = f"/v1/studies/{study.id}/trials/{row['id']}"
    assert client.get(here).json() == row
    with database.session(write=True) as session:
        [running] = session.scalars(select(AttemptRow))
        token = running.lease_token
        for position, text in ((0, "a\n"), (2, "b\n"), (1004, "z\n")):
            new = logs.NewText(token=token, position=position, text=text)
            logs.record(session, study.id, [new], n_kept=2000)
        attempts.retry(session, token, "failed", workshop.now, "ValueError: boom")
        token = attempts.start(session, row["id"], {"lr": 0.1}, 0, workshop.now)
        logs.record(session, study.id, [logs.NewText(token=token, position=0, text="c\n")], 9)
    listed = client.get(f"{here}/attempts").json()["items"]
    assert [(each["number"], each["outcome"], each["error"]) for each in listed] == [
        (1, "failed", "ValueError: boom"),
        (2, "running", None),
    ]
    answer = client.get(f"{here}/log")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == ("[attempt 1]\na\nb\n[1000 characters left out]\nz\n[attempt 2]\nc\n")
    address, pieces = f"/v1/studies/{study.id}/log?limit=3&trial={row['id']}", []
    while address:
        page = client.get(address).json()
        pieces += page["items"]
        address = page["next"]
    assert [piece["text"] for piece in pieces] == ["a\n", "b\n", "z\n", "c\n"]
    assert client.get(f"/v1/studies/{study.id}/log?after={pieces[2]['id']}").json()["items"] == [
        pieces[3]
    ]
    assert client.get(f"/v1/studies/{study.id}/log?trial=99").json()["items"] == []


@pytest.mark.parametrize("what", ["", "/measurements", "/attempts", "/log"])
def test_trial_of_another_study_is_not_found(client: TestClient, workshop: Any, what: str) -> None:
    """Otherwise an owner could read the trials of other owners by guessing ids."""
    first = workshop.running()
    other = workshop.queued()
    trial = client.get(f"/v1/studies/{first.id}/trials").json()["items"][0]["id"]
    answer = client.get(f"/v1/studies/{other.id}/trials/{trial}{what}")
    assert (answer.status_code, answer.json()["detail"]) == (
        404,
        f"Study {other.id} has no trial {trial}.",
    )
