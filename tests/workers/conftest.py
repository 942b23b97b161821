"""Optuna's storage in the test's database."""

from collections.abc import Iterator

import pytest

from gradnoise_service.search import Storage, open_storage


@pytest.fixture
def storage(database_url: str) -> Iterator[Storage]:
    storage = open_storage(database_url)
    yield storage
    storage.remove_session()
    storage.engine.dispose()
