"""Pages in a real browser update themselves and respect their Content-Security-Policy."""

from pathlib import Path
from typing import Any

import pytest

from browser import Page, browser


@pytest.fixture
def page(tmp_path: Path) -> Any:
    with browser(tmp_path / "profile") as page:
        yield page


def test_study_page_follows_its_study_until_it_ends(
    page: Page, api: Any, worker: Any, make_spec: Any
) -> None:
    study_id = submit(api, make_spec(name="followed"))
    page.open(f"{api.url}/studies/{study_id}")
    assert page.run("document.querySelector('#state').innerText") == "queued"
    worker.begin(study_id)
    page.await_text("#state", "running")
    worker.end_trial(study_id, 0.75)
    page.await_text("#progress", "best 0.75")
    page.await_text("#trials", "search 0")
    page.run("window.isFirst = true")
    worker.fail(study_id, "ValueError: no data")
    page.await_load()
    page.await_text("main", "ValueError: no data")
    assert page.run("[window.isFirst, 'progress' in document.querySelector('main').dataset]") == [
        None,
        False,
    ]
    assert page.errors == []


@pytest.mark.slow
def test_list_follows_every_study(page: Page, api: Any, worker: Any, make_spec: Any) -> None:
    study_id = submit(api, make_spec(name="listed"))
    page.open(f"{api.url}/")
    worker.begin(study_id)
    page.await_text("#studies", "running")
    assert page.errors == []


@pytest.mark.slow
def test_seventh_open_page_is_as_live_as_the_first(
    page: Page, api: Any, worker: Any, make_spec: Any
) -> None:
    """A browser opens at most six connections to a service, over all of its pages."""
    study_id = submit(api, make_spec(name="watched"))
    pages = [page, *(page.another() for _ in range(7))]
    for tab in pages:
        tab.open(f"{api.url}/studies/{study_id}")
    worker.begin(study_id)
    for tab in pages:
        tab.await_text("#state", "running")
    assert [tab.errors for tab in pages] == [[] for _ in pages]


def submit(api: Any, spec: Any) -> int:
    from gradnoise_service.client import Client

    with Client(api.url) as client:
        return client.submit(spec).id
