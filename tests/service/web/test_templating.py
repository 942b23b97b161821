"""Pages below a root path link to pages, scripts and forms below it."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

HTML = {"Accept": "text/html"}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_path_of_a_page_is_below_the_root_path(
    make_client: Callable[..., TestClient], announced: None, workshop: Any
) -> None:
    """The links are followed from page to page."""
    client = make_client("secret", admin_token="secret", root_path="/gradnoise")
    workshop.running(suite="a suite")
    waiting, seen = {"/gradnoise/", "/gradnoise/login", "/gradnoise/missing"}, set()
    while waiting:
        path = waiting.pop()
        seen.add(path)
        page = client.get(path, headers=HTML)
        assert page.status_code == (404 if path.endswith("/missing") else 200), path
        if not page.headers["content-type"].startswith("text/html"):
            continue
        paths = re.findall(r'\s(?:href|src|action|data-\w+)="(/[^"#]*)', page.text)
        assert [other for other in paths if not other.startswith("/gradnoise/")] == []
        links = re.findall(r'(?:href|src)="(/[^"#]*)', page.text)
        waiting |= {link.replace("&amp;", "&") for link in links} - seen
    assert {"/gradnoise/static/live.js", "/gradnoise/studies/1", "/gradnoise/docs"} <= seen


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_login_and_redirects_stay_below_the_root_path(
    make_client: Callable[..., TestClient],
) -> None:
    visitor = make_client(admin_token="secret", root_path="/gradnoise")
    sent = visitor.get("/gradnoise/studies/3", headers=HTML)
    assert sent.headers["location"] == "/gradnoise/login?next=/studies/3"
    entered = visitor.post("/login", data={"token": "secret", "next": "/studies/3"})
    assert entered.headers["location"] == "/gradnoise/studies/3"
    assert "; Path=/gradnoise;" in entered.headers["set-cookie"]
    assert visitor.get("/openapi.json").json()["servers"] == [{"url": "/gradnoise"}]
    assert visitor.get("/v1/nowhere").json()["type"].startswith("/gradnoise/docs#")
