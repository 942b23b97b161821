"""What the docstrings show is what happens."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["numbers", "markdown_text", "tabular"])
def test_the_examples_of_a_module_hold(name: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(f"gradnoise_service.report.{name}"))
    assert (failed, tried > 0) == (0, True)
