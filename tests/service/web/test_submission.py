"""Studies are submitted from a form and from YAML, each made from the other."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from browser import browser
from gradnoise.workloads.catalogue import document
from gradnoise_service.store import catalogues, studies
from gradnoise_service.store.database import Database
from gradnoise_service.study_text import parse_yaml
from page_outline import HTML, read

SAME = {"Sec-Fetch-Site": "same-origin", **HTML}
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Form(HTMLParser):
    """The values that a browser would send of the form of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.values: dict[str, str] = {}
        self._open = ""
        self._select = ""
        self.feed(text[text.index('id="study-form"') :])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "input" and (given.get("type") != "checkbox" or "checked" in given):
            self.values[given["name"]] = given.get("value", "on")
        elif tag == "select":
            self._select = given["name"]
        elif tag == "textarea":
            self._open = given["name"]
            self.values[self._open] = ""
        elif tag == "option" and "selected" in given:
            self._open = self._select

    def handle_endtag(self, tag: str) -> None:
        if tag in ("textarea", "option"):
            self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.values[self._open] = self.values.get(self._open, "") + data


@pytest.fixture
def whole(client: TestClient, database: Database) -> TestClient:
    """A client of a service with what the real workers announce."""
    with database.session(write=True) as session:
        catalogues.publish(session, document(), datetime.now(UTC))
    return client


def sent(client: TestClient, values: Mapping[str, str], **changes: str) -> Any:
    return client.post("/submit", data={**values, **changes}, headers=SAME)


@on_sqlite
def test_an_edit_of_the_form_changes_the_yaml_and_the_reverse(whole: TestClient) -> None:
    read(whole, "/submit")
    page = whole.get("/submit?preset=demo", headers=HTML)
    assert "102 trials" in page.text
    values = Form(page.text).values
    before = parse_yaml(values["yaml"])
    edit = {"options.depth": "5", "space.lr": "0.01", "arms.1.space.eta": "0.5"}
    edited = sent(whole, values | edit, action="check")
    after = Form(edited.text).values
    found = parse_yaml(after["yaml"])
    assert found["options"] == before["options"] | {"depth": 5}
    assert (found["space"], found["arms"][1]["space"]["eta"]) == ({"lr": 0.01}, 0.5)
    typed = after["yaml"].replace("depth: 5", "depth: 7")
    again = Form(sent(whole, after, yaml=typed, action="check").text).values
    assert (again["options.depth"], again["yaml"].strip()) == ("7", typed.strip())
    larger = Form(sent(whole, again, action="add_arm").text).values
    assert larger["arms.2.name"] == "arm2"
    smaller = Form(sent(whole, larger, action="remove_arm.2").text).values
    assert parse_yaml(smaller["yaml"]) == parse_yaml(again["yaml"])


@on_sqlite
def test_faults_are_shown_at_their_fields_and_nothing_is_stored(
    whole: TestClient, database: Database
) -> None:
    values = Form(whole.get("/submit?preset=demo", headers=HTML).text).values
    for wrong in (
        {"space.lr": "0.3 to 0.1", "confirm.n_seeds": "many"},
        {"options.depth": "-1", "optimizer": "none"},
    ):
        refused = sent(whole, values | wrong, action="submit")
        assert refused.status_code == 422
        marked = re.findall(r'id="f-([^"]+)"[^>]*aria-invalid', refused.text)
        assert sorted(marked) == sorted(wrong)
    broken = sent(whole, values, yaml="a: [", action="submit")
    assert (broken.status_code, "YAML" in broken.text) == (422, True)
    unknown = whole.get("/submit?preset=nothing", headers=HTML)
    assert unknown.status_code == 404
    with database.session() as session:
        assert studies.page(session, owner=None, before=None, limit=9) == []


@on_sqlite
def test_a_study_is_submitted_once_and_cloned(whole: TestClient, database: Database) -> None:
    values = Form(whole.get("/submit?preset=demo", headers=HTML).text).values
    first, second = (sent(whole, values, action="submit") for _ in range(2))
    assert first.status_code == second.status_code == 303
    assert first.headers["location"] == second.headers["location"]
    other = {"Sec-Fetch-Site": "cross-site", **HTML}
    assert whole.post("/submit", data=values, headers=other).status_code == 403
    here = first.headers["location"]
    study_id = here.rpartition("/")[2]
    assert f"/submit?study={study_id}" in read(whole, here).links
    clone = whole.get(f"/submit?study={study_id}", headers=HTML)
    cloned = Form(clone.text).values
    assert (cloned["name"], cloned["options.depth"]) == ("demo-2", "20")
    taken = sent(whole, cloned, name="demo", action="submit")
    assert taken.status_code == 422
    assert "such as demo-2" in unescape(taken.text)


@pytest.mark.slow
@pytest.mark.usefixtures("whole_catalogue")
def test_a_study_is_written_with_the_keyboard(api: Any, tmp_path: Path) -> None:
    """Form and YAML follow each other; focus stays; a fault stands at its field."""
    field = "document.getElementById('f-options.depth')"
    with browser(tmp_path / "profile") as page:
        page.open(f"{api.url}/submit?preset=demo")
        page.run(f"{field}.focus(); {field}.select()")
        for key in "7":
            page.press(key)
        page.press("Tab")
        page.await_value("#yaml", "depth: 7")
        assert page.run("document.activeElement.closest('.field') !== null")
        page.run("document.getElementById('yaml').focus()")
        page.run(
            "yaml.value = yaml.value.replace('depth: 7', 'depth: -3');"
            "yaml.dispatchEvent(new Event('input', {bubbles: true}))"
        )
        page.await_text("#fields", "depth")
        page.await_value("[aria-invalid]", "-3")
        assert page.run("document.activeElement.id") == "yaml"
        page.run(
            "yaml.value = yaml.value.replace('depth: -3', 'depth: 4');"
            "yaml.dispatchEvent(new Event('input', {bubbles: true}))"
        )
        page.await_text("#outcome", "trials")
        page.run("document.querySelector('[value=submit]').focus()")
        page.press("Enter")
        page.await_load()
        page.await_text("h1", "demo")
        assert page.errors == []
