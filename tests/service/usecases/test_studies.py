"""A study is extended under the code with which it ran, or under other code if that is accepted."""

import copy
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from gradnoise_service.client import ApiError, Client
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.store import catalogues
from gradnoise_service.store.database import Database
from gradnoise_service.store.tables import StudyRow
from live_api import LiveApi


def test_an_extension_or_retry_under_other_code_is_refused_unless_it_is_accepted(
    api: LiveApi,
    worker: Any,
    live_database: Database,
    catalogue_document: Mapping[str, Any],
    make_spec: Callable[..., StudySpec],
) -> None:
    def announce(code: str) -> None:
        document = {**copy.deepcopy(dict(catalogue_document)), "code_of": {"workload mlp": code}}
        with live_database.session(write=True) as session:
            catalogues.publish(session, document, datetime.now(UTC))

    with Client(api.url) as client:
        announce("old")
        study = client.submit(make_spec(options={}))
        worker.run_all(study.id)
        with live_database.session(write=True) as session:
            row = session.get_one(StudyRow, study.id)
            row.protocol = {"code_of": {"workload mlp": "old", "optimizer sgd": "same"}}
        client.extend(study.id, 1, dry_run=True)
        announce("new")
        with pytest.raises(ApiError, match="code of workload mlp has changed") as caught:
            client.extend(study.id, 1)
        assert "--accept-changed-code" in caught.value.hint
        assert client.study(study.id).state == "complete"
        extended = client.extend(study.id, 1, accept_changed_code=True)
        assert (extended.state, extended.extensions[0].accepts_changed_code) == ("queued", True)
        with live_database.session(write=True) as session:
            session.get_one(StudyRow, study.id).state = "failed"
        with pytest.raises(ApiError, match="code of workload mlp has changed"):
            client.retry(study.id)
        assert client.study(study.id).state == "failed"
        assert client.retry(study.id, accept_changed_code=True).state == "queued"
