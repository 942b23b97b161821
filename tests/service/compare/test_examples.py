"""The examples in docstrings hold."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "name",
    ["diagnostics", "importance", "intervals", "losses", "power", "ranks", "verdict", "warnings"],
)
def test_the_examples_of_a_module_hold(name: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(f"gradnoise_service.compare.{name}"))
    assert (failed, tried > 0) == (0, True)
