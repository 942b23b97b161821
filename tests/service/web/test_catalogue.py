"""The page of the catalogue has what a study can choose, and what cannot be used."""

import copy
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from gradnoise_service.store import catalogues
from gradnoise_service.store.database import Database

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_every_declaration_has_its_package_and_legal_values(
    client: TestClient, database: Database, catalogue_document: Mapping[str, Any], now: datetime
) -> None:
    document = copy.deepcopy(dict(catalogue_document))
    document["workloads"][0]["package"] = "networks 2.1"
    document["techniques"][1]["package"] = "noises 3"
    document["broken"] = [
        {
            "kind": "optimizer",
            "name": "mine",
            "value": "mine:step",
            "package": "pack 1",
            "error": "ImportError: no <b>module</b>",
        }
    ]
    with database.session(write=True) as session:
        catalogues.publish(session, document, now)
    page = client.get("/catalogue")
    assert page.status_code == 200
    for shown in (
        "networks 2.1",
        "noises 3",
        "ImportError: no &lt;b&gt;module&lt;/b&gt;",
        "<code>mine:step</code> of pack 1",
        "one of digits, mnist (default digits)",
        "must be at most 50 with dataset=digits",
        "maximize, ",
        "a number in [0, inf)",
        "a whole number in [1, inf)",
        "must be given with lr_schedule=step",
        "<dt>A study must give</dt><dd>eta, gamma</dd>",
    ):
        assert shown in page.text, shown


def test_before_the_first_worker_the_page_says_so(make_client: Callable[..., TestClient]) -> None:
    assert "No worker has announced its workloads" in make_client().get("/catalogue").text
