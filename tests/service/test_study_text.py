"""The text of a study becomes plain JSON values, or an error that names the position."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradnoise_service.study_text import (
    MalformedStudyError,
    parse_json,
    parse_yaml,
    parse_yaml_documents,
)


def test_exponents_are_numbers_and_dates_are_strings() -> None:
    assert parse_yaml("lr: [1e-3, 3E5, .5, 2]\nday: 2026-01-02") == {
        "lr": [0.001, 300_000.0, 0.5, 2],
        "day": "2026-01-02",
    }


@pytest.mark.parametrize(
    ("text", "line", "column", "problem"),
    [
        ("name: x\nspace: {lr: [1\nseed: 1", 3, 5, "expected"),
        ("name: x\n\tseed: 1", 2, 1, r"cannot start any token|found character"),
        ("name: x\nname: y", 2, 1, "duplicate key 'name'"),
        ("a: &x [1]\nb: *x", 2, 4, "alias"),
        ("a:\n  b: .nan", 2, 6, "finite"),
        ("a: 1\n2: b", 2, 1, "must be a string"),
        ("a: !!python/object/apply:os.system [ls]", 1, 4, "tag"),
        ("a: 1\nb: \x07", 2, 4, "not allowed"),
        ("a: " + "[" * 30 + "]" * 30, 1, 23, "deeper"),
    ],
)
def test_malformed_yaml_is_refused_with_line_and_column(
    text: str, line: int, column: int, problem: str
) -> None:
    """Lines and columns count from 1."""
    with pytest.raises(MalformedStudyError, match=problem) as caught:
        parse_yaml(text)
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize("text", ["", "- a\n- b", "just words", "3", "!!int x"])
def test_text_that_is_not_a_mapping_is_refused(text: str) -> None:
    with pytest.raises(MalformedStudyError):
        parse_yaml(text)


def test_documents_are_separated_by_three_dashes() -> None:
    assert parse_yaml_documents("a: 1") == parse_yaml_documents("---\na: 1") == [{"a": 1}]
    assert parse_yaml_documents("a: 1\n---\na: 2") == [{"a": 1}, {"a": 2}]


SEVERAL = [
    ("", None),
    ("a: 1\n---\n- b", None),
    ("a: 1\n---\nb: [1\nc: 2", 4),
    ("a: 1\n---\nb: 1\nb: 2", 4),
]


@pytest.mark.parametrize(("text", "line"), SEVERAL)
def test_malformed_document_is_named_by_its_line_in_the_text(text: str, line: int | None) -> None:
    """An empty text is refused too."""
    with pytest.raises(MalformedStudyError) as caught:
        parse_yaml_documents(text)
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ('{"a": 1,\n}', 2, "property name"),
        ('{"a": 1, "a": 2}', None, "duplicate key"),
        ('{"a": NaN}', None, "finite"),
        ('{"a": 1e999}', None, "finite"),
        ("[" * 100_000, None, "deeper"),
        ("[1]", None, "a list"),
    ],
)
def test_malformed_json_is_refused(text: str, line: int | None, problem: str) -> None:
    """NaN and duplicate keys are refused, although Python's parser accepts them."""
    with pytest.raises(MalformedStudyError, match=problem) as caught:
        parse_json(text)
    assert caught.value.line == line


@given(st.text())
def test_any_text_is_a_mapping_or_malformed(text: str) -> None:
    """No text raises another error."""
    for parse in (parse_yaml, parse_json):
        with contextlib.suppress(MalformedStudyError):
            assert isinstance(parse(text), dict)
