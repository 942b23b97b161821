"""Errors are blocks of text that name every fault."""

from gradnoise_service.client import ApiError
from gradnoise_service.terminal.errors import error_block, problem_block
from rendered import rendered


def test_refusal_lists_every_fault_and_then_the_hint() -> None:
    faults = [
        {
            "field": "space.lr.low",
            "value": -1,
            "message": "low must be above 0",
            "legal": "a number in (0, inf)",
        },
        {
            "field": "seed",
            "value": None,
            "message": "this field is missing",
            "legal": "a whole number, at least 0",
        },
    ]
    problem = {
        "title": "The study cannot be run",
        "detail": "two faults",
        "hint": "Correct the fields.",
        "errors": faults,
    }
    assert rendered(problem_block(ApiError(422, problem))).splitlines() == [
        "✗ The study cannot be run",
        "",
        "  space.lr.low = -1",
        "    low must be above 0",
        "    legal: a number in (0, inf)",
        "",
        "  seed",
        "    this field is missing",
        "    legal: a whole number, at least 0",
        "",
        "  Correct the fields.",
    ]


def test_markup_in_an_answer_is_plain_text() -> None:
    """Square brackets in a name or an error are printed as they are."""
    problem = {"title": "taken", "detail": "[bold red]not markup[/]", "hint": "[/] neither"}
    assert "[bold red]not markup[/]" in rendered(problem_block(ApiError(409, problem)))


def test_error_has_its_details_below_its_message() -> None:
    assert rendered(error_block("It failed.", "first", "", "second")).splitlines() == [
        "✗ It failed.",
        "  first",
        "  second",
    ]
