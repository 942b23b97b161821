"""The examples in docstrings hold."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["latex", "markdown_syntax", "words.numbers", "words.settings"])
def test_the_examples_of_a_module_hold(name: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(f"gradnoise_service.report.{name}"))
    assert (failed, tried > 0) == (0, True)
