"""The text of a study becomes plain JSON values, or an error that names the position."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradnoise_service.study_text import (
    MAX_YAML_CHARACTERS,
    MalformedStudyError,
    dump_yaml,
    parse_json,
    parse_yaml,
    parse_yaml_documents,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1e-3", 0.001), ("3E5", 300_000.0), (".5", 0.5), ("1.10", 1.1), ("1.", 1.0), ("2", 2)),
        *(("010", 10), ("-07", -7), ("0o17", 15), ("0x1F", 31), ("+3", 3), ("08.5", 8.5)),
        *((text, text) for text in ("1:30", "190:20:30", "1_000", "0b11", "2026-01-02", "1.1.0")),
        *((text, text) for text in ("on", "off", "yes", "no", "Yes", "NO", "y", "n", "<<", "=")),
        *(
            ("true", True),
            ("False", False),
            ("null", None),
            ("~", None),
            ("", None),
            ("nULL", "nULL"),
        ),
        *(("'010'", "010"), ('"1e-3"', "1e-3"), ('"\\ud83d\\ude00"', "\U0001f600")),
    ],
)
def test_plain_scalars_have_the_types_of_yaml_1_2(text: str, value: object) -> None:
    """The examples are those of the core schema, and words that only YAML 1.1 reads as values."""
    [found] = parse_yaml(f"a: [{text}]")["a"] if text else [parse_yaml("a:")["a"]]
    assert (found, type(found)) == (value, type(value))


KEYS = st.text(max_size=80)  # YAML allows 1024 characters, escapes included
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["010", "1:30", "on", "no", "1e3", "0o7", "~", "<<", "=", "null"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=40)
@given(st.dictionaries(KEYS, JSON_VALUES, max_size=5), st.sampled_from([None, 2]), st.booleans())
def test_json_is_the_same_study_as_yaml(
    values: dict[str, object], indent: int, is_ascii: bool
) -> None:
    """YAML 1.2 contains JSON. A character that PyYAML cannot read is refused with its line."""
    text = json.dumps(values, indent=indent, ensure_ascii=is_ascii)
    assert parse_json(text) == values
    outcome: object
    try:
        outcome = json.dumps(parse_yaml(text))
    except MalformedStudyError as error:
        outcome = error.line
    assert outcome == json.dumps(values) or (isinstance(outcome, int) and not is_ascii)


@settings(max_examples=40)
@given(st.dictionaries(KEYS, JSON_VALUES, max_size=5))
def test_dumped_study_is_read_back_as_it_was(values: dict[str, object]) -> None:
    assert json.dumps(parse_yaml(dump_yaml(values))) == json.dumps(values)


def test_long_text_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(
        MalformedStudyError, match="at most 1,000,000 characters, but got 1,000,001"
    ):
        parse_yaml("#" * (MAX_YAML_CHARACTERS + 1))


@pytest.mark.parametrize(
    ("text", "line", "column", "problem"),
    [
        ("name: x\nspace: {lr: [1\nseed: 1", 3, 5, "expected"),
        ("name: x\n\tseed: 1", 2, 1, "tab character"),
        ("name: x\nname: y", 2, 1, "duplicate key 'name'"),
        ("a: &x [1]\nb: *x", 2, 4, "alias"),
        ("a:\n  b: .nan", 2, 6, "finite"),
        ("a: 1\n2: b", 2, 1, "must be a string"),
        ("a: !!python/object/apply:os.system [ls]", 1, 4, "tag"),
        ("a: !!str 010", 1, 4, "in quotes"),
        ("a:\n- ! x", 2, 3, "tag"),
        ("b: 1\na: 1\u2028", 2, 5, "2028"),
        ("a: -.INF", 1, 4, "finite"),
        ("a: 1e999", 1, 4, "finite"),
        ("a: " + "9" * 5000, 1, 4, "digits"),
        ("a: 1\nb: \x07", 2, 4, "not allowed"),
        ("a: " + "[" * 30 + "]" * 30, 1, 23, "deeper"),
        ("a: 0x" + "f" * 5000, 1, 4, "digits"),
        ('a: "\\UFFFFFFFF"', 1, 7, "escape"),
        ("a: [" + "b," * 20_000 + "]", 1, 39_995, "at most 20,000 values"),
    ],
)
def test_malformed_yaml_is_refused_with_line_and_column(
    text: str, line: int, column: int, problem: str
) -> None:
    """Lines and columns count from 1."""
    with pytest.raises(MalformedStudyError, match=problem) as caught:
        parse_yaml(text)
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize(
    "text", ["", "- a\n- b", "just words", "3", "!!int x", '"\\ud83d \\UFFFFFFFF"']
)
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
