"""HTML pages are well-formed, escaped, and complete without a script."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from gradnoise_service.compare.assembly import compare
from gradnoise_service.domain.study import Measurement
from gradnoise_service.store import (
    attempts,
    catalogues,
    leases,
    logs,
    measurements,
    studies,
    trials,
)
from gradnoise_service.store.database import Database
from gradnoise_service.store.tables import AttemptRow, StudyRow
from page_outline import HTML, read

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def shown(client: TestClient, workshop: Any) -> dict[str, int]:
    """A study in each state, by state."""
    ids = {"running": workshop.running(description="Does it <b>help</b>?").id}
    failed = workshop.failed()
    cancelled = workshop.running(n_ended=2)
    workshop.cancel(cancelled)
    return ids | {"queued": workshop.queued().id, "failed": failed.id, "cancelled": cancelled.id}


def test_list_shows_every_study_and_refreshes_while_any_is_active(
    client: TestClient, shown: dict[str, int]
) -> None:
    page = read(client, "/")
    assert {f"/studies/{study_id}" for study_id in shown.values()} <= set(page.links)
    assert all(state in page.text for state in shown)
    assert "4 of 18 trials" in page.text
    assert "ValueError: no data" in page.text
    assert "data-refresh" in page.attributes


def test_queued_study_shows_what_it_waits_for(client: TestClient, workshop: Any) -> None:
    study = workshop.queued()
    waits = "next in the queue, waits for a dispatcher: none is running"
    assert waits in client.get("/").text
    assert waits in client.get(f"/studies/{study.id}").text


def test_empty_list_suggests_the_demo(client: TestClient) -> None:
    page = read(client, "/")
    assert "gradnoise submit --preset demo" in page.text
    assert "data-refresh" not in page.attributes


def test_older_studies_are_on_the_next_page(client: TestClient, workshop: Any) -> None:
    ids = [workshop.queued().id for _ in range(51)]
    following = next(link for link in read(client, "/").links if "page=" in link)
    assert f"/studies/{ids[0]}" in read(client, following).links


@pytest.mark.parametrize("state", ["queued", "running", "failed", "cancelled"])
def test_study_shows_its_state_and_declaration(
    client: TestClient, shown: dict[str, int], state: str
) -> None:
    page = read(client, f"/studies/{shown[state]}")
    assert state in page.text
    assert "lr 0.003 to 0.3, logarithmic" in " ".join(page.text.split())
    assert "eta one of 0.01, 0.3, 1" in " ".join(page.text.split())
    assert ("data-progress" in page.attributes) == (state in ("queued", "running"))


def test_running_study_shows_bars_and_its_latest_trials(
    client: TestClient, shown: dict[str, int]
) -> None:
    page = read(client, f"/studies/{shown['running']}")
    words = " ".join(page.text.split())
    assert "baseline 2 of 4 best 0.52" in words
    assert "noisy 2 of 4 best 0.53" in words
    assert words.index("search 2 baseline running") < words.index(
        "search 1 noisy complete 0.53 lr 0.04"
    )
    assert {"progress", "trials", "state", "actions"} <= set(page.ids)


def test_a_fixed_value_does_not_read_as_tuned(client: TestClient, workshop: Any) -> None:
    """A parameter with one value is no part of what is tuned, nor of the settings of trials."""
    space = {"lr": {"low": 0.001, "high": 0.1, "log": True}, "momentum": 0.9}
    study = workshop.running(space=space | {"clip_norm": {"choices": [5.0]}})
    page = read(client, f"/studies/{study.id}")
    words = " ".join(page.text.split())
    for shown in ("tuneslr 0.001 to 0.1, logarithmic Fixed in every arm", "momentum 0.9"):
        assert shown in words
    assert words.index("Fixed in every arm") < words.index("clip_norm 5") < words.index("Devices")
    assert "datetime" in page.attributes
    [row] = client.get(f"/v1/studies/{study.id}/trials?state=running").json()["items"]
    trial = " ".join(read(client, f"/studies/{study.id}/trials/{row['id']}").text.split())
    assert "Settingslr 0.05 Fixedmomentum 0.9" in trial


def test_report_links_back_and_a_page_to_its_study_in_the_dashboard(
    client: TestClient, workshop: Any
) -> None:
    study = workshop.running()
    page = read(client, f"/studies/{study.id}")
    assert f"http://127.0.0.1:8001/studies/{study.id}" in page.links
    [row] = client.get(f"/v1/studies/{study.id}/trials?state=running").json()["items"]
    here = f"/studies/{study.id}/trials/{row['id']}"
    assert f"http://127.0.0.1:8001{here}" in read(client, here).links
    report = client.get(f"/studies/{study.id}/report", headers=HTML)
    assert f'<a href="/studies/{study.id}">' in report.text
    assert "8001/studies" not in client.get(f"/studies/{workshop.queued().id}").text


def test_description_is_escaped(client: TestClient, shown: dict[str, int]) -> None:
    assert "Does it <b>help</b>?" in read(client, f"/studies/{shown['running']}").text


def test_form_cancels_a_study(
    client: TestClient, database: Database, shown: dict[str, int]
) -> None:
    study_id = shown["running"]
    page = client.get(f"/studies/{study_id}").text
    assert f'action="/studies/{study_id}/cancel"' in page
    answer = client.post(
        f"/studies/{study_id}/cancel", headers={"Sec-Fetch-Site": "same-origin", **HTML}
    )
    assert (answer.status_code, answer.headers["location"]) == (303, f"/studies/{study_id}")
    with database.session() as session:
        assert studies.get(session, study_id, None).state == "cancelled"
    assert "/cancel" not in client.get(f"/studies/{study_id}").text


def test_form_stops_a_search_or_a_study(client: TestClient, shown: dict[str, int]) -> None:
    address = f"/studies/{shown['running']}"
    assert 'name="confirm"' in client.get(address).text
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for content, state in (("confirm=on", "running"), ("", "stopping")):
        headers = {"Sec-Fetch-Site": "same-origin", **HTML, **form}
        answer = client.post(f"{address}/stop", content=content, headers=headers)
        assert (answer.status_code, answer.headers["location"]) == (303, address)
        assert client.get(f"/v1{address}").json()["state"] == state
    page = client.get(address).text
    assert f'action="{address}/stop"' not in page
    assert " of 0<" not in page
    assert "0 fresh seeds" not in page


def test_form_extends_a_complete_study(
    client: TestClient, database: Database, workshop: Any
) -> None:
    study = workshop.queued()
    assert "/extend" not in client.get(f"/studies/{study.id}").text
    with database.session(write=True) as session:
        acquired = leases.acquire(session, "dispatcher", workshop.now, timedelta(hours=1))
        assert acquired is not None
        comparison = compare(study.design, study.metric, [], protocol={})
        facts = comparison.model_dump(mode="json")
        leases.complete(session, acquired[1], workshop.now, facts, comparison.verdict)
    read(client, f"/studies/{study.id}")
    assert f'action="/studies/{study.id}/extend"' in client.get(f"/studies/{study.id}").text
    same = {"Sec-Fetch-Site": "same-origin", **HTML}
    stated = read(client, f"/studies/{study.id}/extend?seeds=7")
    assert "With 12 seeds, the error probability stays at 5 %" in stated.text
    with database.session() as session:
        assert studies.get(session, study.id, None).state == "complete"
    for illegal in ("", "0", "many", "1.5"):
        assert client.get(f"/studies/{study.id}/extend?seeds={illegal}").status_code == 422
        assert (
            client.post(
                f"/studies/{study.id}/extend", data={"seeds": illegal}, headers=same
            ).status_code
            == 422
        )
    answer = client.post(f"/studies/{study.id}/extend", data={"seeds": "7"}, headers=same)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/studies/{study.id}")
    with database.session() as session:
        extended = studies.get(session, study.id, None)
    assert extended.state == "queued"
    assert (extended.design.n_seeds, extended.design.extended_at) == (12, (5,))


def test_forms_ask_whether_changed_code_may_run(
    client: TestClient,
    database: Database,
    workshop: Any,
    catalogue_document: Mapping[str, object],
) -> None:
    same = {"Sec-Fetch-Site": "same-origin", **HTML}
    asks = "The code of workload mlp has changed since the study ran"
    failed = workshop.failed()
    path = f"/studies/{failed.id}"
    assert asks not in read(client, path).text
    with database.session(write=True) as session:
        row = session.get_one(StudyRow, failed.id)
        row.protocol = {**row.protocol, "code_of": {"workload mlp": "old"}}
        changed = {**catalogue_document, "code_of": {"workload mlp": "new"}}
        catalogues.publish(session, changed, workshop.now)
    assert asks in read(client, path).text
    assert client.post(f"{path}/retry", data={"x": ""}, headers=same).status_code == 409
    accepted = {"accept_changed_code": "on"}
    assert client.post(f"{path}/retry", data=accepted, headers=same).status_code == 303
    with database.session(write=True) as session:
        assert studies.get(session, failed.id, None).state == "queued"
        session.get_one(StudyRow, failed.id).state = "complete"
    assert asks in read(client, f"{path}/extend?seeds=7").text
    seeds = {"seeds": "7"}
    assert client.post(f"{path}/extend", data=seeds, headers=same).status_code == 409
    answer = client.post(f"{path}/extend", data=seeds | accepted, headers=same)
    assert answer.status_code == 303


def test_reader_without_permission_sees_no_form(
    make_client: Callable[..., TestClient], workshop: Any
) -> None:
    admin = make_client("secret", host="0.0.0.0", admin_token="secret")
    token = admin.post("/v1/tokens", json={"name": "x", "owner": "ada", "scopes": ["read"]}).json()[
        "token"
    ]
    study = workshop.running(owner="ada")
    reader = make_client(token, host="0.0.0.0", admin_token="secret")
    assert "/cancel" not in reader.get(f"/studies/{study.id}", headers=HTML).text
    assert "/cancel" in admin.get(f"/studies/{study.id}", headers=HTML).text


def test_script_and_stylesheet_are_served(client: TestClient) -> None:
    assert client.get("/static/live.js").headers["content-type"].startswith("text/javascript")
    assert client.get("/static/style.css").headers["content-type"].startswith("text/css")


def test_study_without_search_shows_its_settings(client: TestClient, workshop: Any) -> None:
    arms = [
        {"name": "baseline", "technique": "none"},
        {"name": "noisy", "technique": "annealed", "space": {"eta": 0.3, "gamma": 0.5}},
    ]
    fields = {"search": None, "space": {"lr": {"choices": [0.1, 0.01]}}, "arms": arms}
    study = workshop.queued(**fields, confirm={"n_seeds": 12, "epochs": 3, "looks": [9]})
    text = " ".join(read(client, f"/studies/{study.id}").text.split())
    for words in (
        "none: every arm runs 2 settings",
        "12 fresh seeds for each setting, the same for every arm, 3 epochs each; fewer if the "
        "verdict at 9 seeds decides",
        "Every arm runs",
    ):
        assert words in text


def test_running_study_with_an_always_valid_boundary_shows_its_verdict_so_far(
    client: TestClient, database: Database, workshop: Any
) -> None:
    study = workshop.running(confirm={"n_seeds": 24, "anytime": True})
    assert "helps so far" not in " ".join(read(client, f"/studies/{study.id}").text.split())
    values = {"baseline": 0.1, "noisy": 0.8}
    settings = {arm: [{"lr": 0.01}] for arm in values}
    with database.session(write=True) as session:
        trials.declare(session, study.id, study.design.trials("confirm", settings))
        for opening in attempts.waiting(session, study.id, "confirm")[:24]:
            trial = opening.trial
            token = attempts.start(session, trial.id, {"lr": 0.01}, trial.number, workshop.now)
            value = values[trial.arm] + trial.number / 1000
            attempts.end(session, token, "complete", workshop.now, value=value)
    page = read(client, f"/studies/{study.id}")
    words = " ".join(page.text.split())
    assert "verdict" in page.ids
    assert "helps so far noisy against baseline" in words
    assert "This verdict is over the first 12 of 24 pairs." in words
    assert "24 fresh seeds, the same for every arm, 3 epochs each; the verdict is valid" in words
    workshop.cancel(study)
    assert "noisy helps: mean accuracy" in read(client, f"/studies/{study.id}").text


def test_study_shows_the_first_error_of_an_arm_and_the_ratio_of_its_noise(
    client: TestClient, database: Database, workshop: Any
) -> None:
    study = workshop.running(n_ended=2)
    trace = 'Traceback:\n  File "/a/train.py", line 3, in train\n    f()\nKeyError: "<b>"\n'
    with database.session(write=True) as session:
        for trial, error in zip(
            attempts.waiting(session, study.id, "search"), (trace, ""), strict=False
        ):
            token = attempts.start(session, trial.trial.id, {"lr": 0.1}, 7, workshop.now)
            if error:
                attempts.end(session, token, "failed", workshop.now, value=0.0, error=error)
                arm = trial.trial.arm
                continue
            values = {"noise_to_gradient": 12.0}
            row = Measurement(trial_id=trial.trial.id, epoch=1, values=values, seconds=1.0)
            measurements.record(session, [row])
            attempts.add_cost(session, {token: (1, 1.0)})
    page = read(client, f"/studies/{study.id}")
    line = 'KeyError: "<b>" (train.py, line 3, in train)'
    assert f"1 trial of {arm} failed. The first error, of search trial " in page.text
    assert line in page.text
    assert line in read(client, "/").text
    assert "errors" in page.ids
    failed = client.get(f"/v1/studies/{study.id}/trials?state=failed").json()["items"][0]
    assert f"/studies/{study.id}/trials/{failed['id']}" in page.links
    assert "noise is 12 times the gradient (median of the latest trial): mostly noise" in page.text
    progress = client.get(f"/v1/studies/{study.id}/progress").json()
    assert progress["errors"][0]["error"] == trace
    assert progress["noise"][0]["median"] == 12.0
    listed = client.get("/v1/studies").json()["items"][0]["errors"][0]
    assert (listed["arm"], listed["n_failed"]) == (arm, 1)


def test_suites_are_listed_and_linked_from_their_studies(client: TestClient, workshop: Any) -> None:
    assert "gradnoise submit --preset suite-small" in read(client, "/suites").text
    study = workshop.queued(suite="two words")
    workshop.cancel(workshop.queued(suite="two words"))
    page = read(client, "/suites")
    assert "/suites/two%20words?owner=local" in page.links
    assert "1 of 2 studies" in page.text
    assert "/suites/two%20words" in read(client, f"/studies/{study.id}").links
    answer = client.get("/suites/two%20words", headers=HTML)
    assert answer.status_code == 200
    assert "1 of 2 studies have ended" in answer.text
    assert client.get("/suites/none", headers=HTML).status_code == 404


def test_a_trial_s_page_shows_setting_course_errors_and_logs(
    client: TestClient, workshop: Any, database: Database
) -> None:
    study = workshop.running(n_ended=1)
    [row] = client.get(f"/v1/studies/{study.id}/trials?state=running").json()["items"]
    here = f"/studies/{study.id}/trials/{row['id']}"
    assert here in read(client, f"/studies/{study.id}").links
    assert "Nothing was printed." in read(client, here).text
    with database.session(write=True) as session:
        token = session.scalar(
            select(AttemptRow.lease_token).where(AttemptRow.outcome == "running")
        )
        assert token is not None
        logs.record(session, study.id, [logs.NewText(token=token, position=0, text="<hr>\n")], 99)
        values = {"validation_accuracy": 0.25}
        rows = [Measurement(trial_id=row["id"], epoch=1, values=values, seconds=0.1)]
        measurements.record(session, rows)
        attempts.retry(session, token, "failed", workshop.now, "ValueError: <b>boom")
        attempts.start(session, row["id"], {"lr": 0.02}, 0, workshop.now)
    page = read(client, here)
    for shown in ("<hr>", "ValueError: <b>boom", "Attempt 2", "validation 0.25", "0.02"):
        assert shown in page.text
    assert "data-refresh" in page.attributes
    assert "points" in page.attributes
    workshop.cancel(study)
    assert "data-refresh" not in read(client, here).attributes
    unknown = client.get(f"/studies/{study.id}/trials/999", headers=HTML)
    assert unknown.status_code == 404
