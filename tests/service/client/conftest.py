"""Fixtures: a client of the shared API."""

from collections.abc import Iterator

import pytest

from gradnoise_service.client import Client
from live_api import LiveApi


@pytest.fixture
def client(api: LiveApi) -> Iterator[Client]:
    with Client(api.url) as client:
        yield client
