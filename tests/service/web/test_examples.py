"""Examples in the docstrings of the pages and the report endpoints."""

import doctest

import pytest

from gradnoise_service.api import reports
from gradnoise_service.usecases import curves
from gradnoise_service.web import charts, form_fields, login, space_text, study_list, templating


@pytest.mark.parametrize(
    "module", [charts, curves, form_fields, login, reports, space_text, study_list, templating]
)
def test_examples(module: object) -> None:
    """The doctests pass."""
    outcome = doctest.testmod(module)  # type: ignore[arg-type]
    assert outcome.attempted > 0
    assert outcome.failed == 0
