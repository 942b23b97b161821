"""Errors of trials in one line."""

import traceback

import pytest

from gradnoise_service.domain.trial_errors import error_in_a_line


def raised(error: Exception) -> str:
    try:
        try:
            raise KeyError("first")
        except KeyError:
            raise error from None
    except Exception as caught:
        return "".join(traceback.format_exception(caught))


@pytest.mark.parametrize(
    ("error", "head"),
    [
        (ValueError("no data"), "ValueError: no data"),
        (RuntimeError("shapes differ\nwhile adding"), "RuntimeError: shapes differ"),
        (ZeroDivisionError(), "ZeroDivisionError"),
    ],
)
def test_the_line_has_type_message_and_the_last_frame(error: Exception, head: str) -> None:
    line = error_in_a_line(f"The function printed last:\nlr 0.1\n\n{raised(error)}\n")
    assert line.startswith(f"{head} (test_trial_errors.py, line ")
    assert line.endswith(", in raised)")


def test_a_chained_exception_counts_with_its_last_one() -> None:
    try:
        try:
            {}["first"]
        except KeyError:
            raise ValueError("second")  # noqa: B904 - chained as users write it
    except ValueError as caught:
        text = "".join(traceback.format_exception(caught))
    assert error_in_a_line(text).startswith("ValueError: second (")


def test_a_text_without_a_traceback_is_its_last_line() -> None:
    assert (
        error_in_a_line("\nthe worker died: ActorDiedError\n") == "the worker died: ActorDiedError"
    )
    assert error_in_a_line("") == ""
