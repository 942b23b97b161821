"""The list of studies is filtered, ordered, and acted on."""

from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from gradnoise_service.compare.assembly import compare
from gradnoise_service.domain.remarks import Remarks
from gradnoise_service.store import leases, studies
from gradnoise_service.store.database import Database
from page_outline import HTML, read

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
SAME = {"Sec-Fetch-Site": "same-origin", **HTML}


def names(client: TestClient, address: str) -> list[str]:
    """Return the names of the listed studies in order."""
    text = read(client, address).text
    found = [name for name in ("alpha", "beta", "gamma") if name in text]
    return sorted(found, key=text.index)


@pytest.fixture
def three(workshop: Any, database: Database, make_trials: Any) -> list[int]:
    """The studies gamma (complete, a gain of 0.1), alpha (running) and beta (queued, tagged)."""
    complete = workshop.queued(name="gamma", confirm={"n_seeds": 6})
    _, runs = make_trials({"baseline": [0.1] * 6, "noisy": [0.2] * 6})
    with database.session(write=True) as session:
        acquired = leases.acquire(session, "dispatcher", workshop.now, timedelta(hours=1))
        assert acquired is not None
        found = compare(complete.design, complete.metric, runs, protocol={})
        facts = found.model_dump(mode="json")
        leases.complete(session, acquired[1], workshop.now, facts, "helps")
    running = workshop.running(name="alpha")
    queued = workshop.queued(name="beta")
    with database.session(write=True) as session:
        studies.remark(session, queued.id, None, Remarks(tags=["keep"], note="Look at Friday"))
    return [complete.id, running.id, queued.id]


def test_filters_search_and_order(client: TestClient, three: list[int]) -> None:
    assert names(client, "/") == ["beta", "alpha", "gamma"]
    for query, wanted in {
        "order=oldest": ["gamma", "alpha", "beta"],
        "order=name": ["alpha", "beta", "gamma"],
        "order=effect": ["gamma", "beta", "alpha"],
        "order=ended": ["gamma", "beta", "alpha"],
        "state=running": ["alpha"],
        "verdict=helps": ["gamma"],
        "tag=keep": ["beta"],
        "text=friday": ["beta"],
        "text=AMM&state=complete": ["gamma"],
        "owner=local&workload=mlp&order=unknown": ["beta", "alpha", "gamma"],
    }.items():
        assert names(client, f"/?{query}") == wanted, query
    text = " ".join(read(client, "/").text.split())
    assert "noisy gains +0.1 accuracy" in text


@pytest.mark.parametrize("query", ["state=paused", "state=unknown", "text=nowhere", "page=9"])
def test_an_empty_filter_is_not_an_empty_service(
    client: TestClient, three: list[int], query: str
) -> None:
    text = read(client, f"/?{query}").text
    assert "No study matches." in text
    assert "No studies yet" not in text


def test_filter_shows_a_value_that_no_study_has(client: TestClient, three: list[int]) -> None:
    text = client.get("/?state=unknown&tag=gone").text
    assert "<option selected>unknown</option>" in text
    assert "<option selected>gone</option>" in text


def test_several_studies_are_cancelled_and_deleted_after_a_question(
    client: TestClient, three: list[int], database: Database
) -> None:
    _complete, running, _queued = three
    picked = {f"study.{study_id}": "on" for study_id in three}
    asked = client.post("/studies/several", data=picked | {"action": "delete"}, headers=SAME)
    assert "Delete 3 studies?" in asked.text
    assert names(client, "/") == ["beta", "alpha", "gamma"]
    confirmed = picked | {"action": "delete", "confirmed": "yes"}
    done = client.post("/studies/several", data=confirmed, headers=SAME)
    assert "1 study was not deleted" in done.text
    assert f"/studies/{running}" in done.text
    assert names(client, "/") == ["alpha"]
    one = {f"study.{running}": "on", "action": "cancel", "confirmed": "yes"}
    done = client.post("/studies/several", data=one, headers=SAME)
    assert (done.status_code, done.headers["location"]) == (303, "/")
    with database.session() as session:
        assert studies.get(session, running, None).state == "cancelled"
    wrong = client.post("/studies/several", data=one | {"action": "burn"}, headers=SAME)
    assert wrong.status_code == 422
    other = {"Sec-Fetch-Site": "cross-site", **HTML}
    assert client.post("/studies/several", data=confirmed, headers=other).status_code == 403


def test_tags_and_note_are_changed_on_the_page(client: TestClient, three: list[int]) -> None:
    here = f"/studies/{three[0]}"
    form = {"tags": "Deep, keep ,", "note": "first\r\nsecond"}
    assert client.post(f"{here}/remarks", data=form, headers=SAME).status_code == 303
    shown = client.get(f"/v1{here}").json()
    assert (shown["tags"], shown["note"]) == (["deep", "keep"], "first\nsecond")
    assert "/?tag=deep" in read(client, here).links
    refused = client.post(f"{here}/remarks", data={"tags": "a b"}, headers=SAME)
    assert (refused.status_code, "tags.0" in refused.text) == (422, True)


def test_picked_studies_are_compared(client: TestClient, three: list[int]) -> None:
    query = "&".join(f"study.{study_id}=on" for study_id in three)
    page = client.get(f"/compare?{query}", headers=HTML)
    assert page.status_code == 200
    assert "1 of 3 studies have ended" in page.text
    assert "<figure" in page.text
    assert f'<a href="studies/{three[0]}">gamma</a>' in page.text
    assert "Settings and costs" in page.text
    assert "picked by a reader" in page.text
    assert client.get("/compare?study.99=on", headers=HTML).status_code == 404
    assert client.get("/compare", headers=HTML).status_code == 303
