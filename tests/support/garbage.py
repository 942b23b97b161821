"""A hook of pytest that leaves all that is imported out of the collections of garbage."""

import gc
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    gc.disable()
    collected = yield
    gc.freeze()
    gc.enable()
    return collected
