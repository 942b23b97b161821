"""Generated requests and sequences of them are answered as the OpenAPI document says.

GRADNOISE_SCHEMA_EXAMPLES sets the number of examples of each operation.
"""

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given
from hypothesis.stateful import run_state_machine_as_test
from pydantic import SecretStr
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from gradnoise_service.app import create_app
from gradnoise_service.settings import Settings
from gradnoise_service.store import catalogues
from gradnoise_service.store.database import Database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

N_EXAMPLES = int(os.environ.get("GRADNOISE_SCHEMA_EXAMPLES", "8"))
HEADERS = {"Authorization": "Bearer secret"}
UNKNOWABLE = [positive_data_acceptance]
"""The schema cannot know the catalogue, so a request that it admits may be refused."""
AMBIGUOUS = [*UNKNOWABLE, negative_data_rejection]
"""In a query, an array of one text, which the schema forbids, is sent as the text itself."""


def settings(n: int, **more: Any) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=n,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        **more,
    )


@pytest.fixture
def app(
    database: Database, catalogue_document: Mapping[str, Any], now: datetime, tmp_path: Path
) -> FastAPI:
    with database.session(write=True) as session:
        catalogues.publish(session, catalogue_document, now)
    chosen = Settings(
        home=tmp_path,
        requests_per_minute=1_000_000,
        admin_token=SecretStr("secret"),
        allow_code="submitters",
        allowed_hosts=["testserver"],
    )
    return create_app(chosen, database)


@pytest.fixture
def schema(app: FastAPI) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", app, headers=HEADERS)


def test_each_request_is_answered_as_documented(app: FastAPI, schema: Any) -> None:
    """No request fails the service; status, headers, media type and body are documented."""
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == sum(map(len, app.openapi()["paths"].values()))
    for operation in operations:

        @given(operation.as_strategy())
        @settings(N_EXAMPLES)
        def check(case: schemathesis.Case) -> None:
            case.call_and_validate(headers=HEADERS, excluded_checks=UNKNOWABLE)

        check()


def test_sequences_of_requests_are_answered_as_documented(schema: Any) -> None:
    """Studies that one request submits are shown, cancelled, cloned and deleted by others."""

    class Sequences(schema.as_state_machine()):  # type: ignore[misc]  # made at run time
        def get_call_kwargs(self, case: schemathesis.Case) -> dict[str, Any]:
            return {"headers": HEADERS}

        def validate_response(
            self, response: schemathesis.Response, case: schemathesis.Case, **more: Any
        ) -> None:
            case.validate_response(response, excluded_checks=AMBIGUOUS, headers=HEADERS)

    run_state_machine_as_test(Sequences, settings=settings(N_EXAMPLES, stateful_step_count=10))
