"""Pydantic's validation errors as faults: the path as in the request, the message, what is legal.

The message follows from the type of the error, the legal values from the schema at the path. If a
field has several forms (a range, choices or a plain value), only errors of the intended form are
reported.
"""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gradnoise_service.domain import phrases
from gradnoise_service.domain.errors import MAX_FAULTS, FieldFault
from gradnoise_service.domain.phrases import Schema
from gradnoise_service.domain.space import CrossFieldError
from gradnoise_service.domain.spec import StudySpec

NOT_LEGAL = r"^(Input should be|\w+ should have|Value error,) | after validation, not \d+$"
"""What pydantic's messages contain beside the legal values."""
LONGEST_FIELD = 40
"""Characters of the longest unknown field for which a similar one is looked for."""
SHORT_FORMS = {"techniques": "technique"}
"""Fields of a list that a request may write as a field of a single value."""


def spec_errors(error: ValidationError, sent: Mapping[str, Any]) -> list[FieldFault]:
    """Return the faults of a study without duplicates.

    Args:
        error: The validation error of the study.
        sent: The study's plain values, as in the request.
    """
    faults: dict[str, FieldFault] = {}
    for details in error.errors(include_url=False):
        fault = _fault(details, sent)
        if fault is not None:
            faults.setdefault(f"{fault.field} {fault.message}", fault)
        if len(faults) > MAX_FAULTS:
            break
    return list(faults.values())


def request_errors(errors: Sequence[Mapping[str, Any]]) -> list[FieldFault]:
    """Return the faults of a request's parameters and small bodies, from FastAPI's errors."""
    return list(map(_request_fault, errors[: MAX_FAULTS + 1]))


def _request_fault(error: Mapping[str, Any]) -> FieldFault:
    field = ".".join(map(str, error["loc"][1:])) or str(error["loc"][0])
    if error["type"] == "missing":
        return FieldFault(field=field, value=None, message="is missing", legal="a value")
    if error["type"] == "extra_forbidden":
        message = f"unknown field {error['loc'][-1]!r}"
        return FieldFault(field=field, value=error["input"], message=message, legal="left out")
    pattern = error.get("ctx", {}).get("pattern")
    legal = re.sub(NOT_LEGAL, "", error["msg"])
    return FieldFault(
        field=field,
        value=error["input"],
        message=f"{_shown(error['input'])} is not legal",
        legal=phrases.PATTERNS.get(pattern, legal),
    )


def _fault(details: ErrorDetails, sent: Mapping[str, Any]) -> FieldFault | None:
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, CrossFieldError):
        return FieldFault(
            field=".".join(filter(None, [*map(str, details["loc"]), cause.field])),
            value=cause.value,
            message=cause.message,
            legal=cause.legal,
        )
    path: list[str] = []
    node, value, parent = _schema(), sent, _schema()
    is_written = True  # False below a short form, such as `pruner: median`
    for item in details["loc"]:
        if item == "[key]":
            return FieldFault(
                field=".".join(path),
                value=details["input"],
                message="is not a string",
                legal="a name that is a string",
            )
        forms = _forms(node)
        if len(forms) > 1:
            form = _intended(forms, value)
            if form is None:
                return _no_form_fault(path, value, node)
            if form["title"] not in str(item):
                return None
            node = form
            continue
        parent, node = node, _below(forms[0], item)
        is_written = is_written and isinstance(value, Mapping | list)
        if is_written:
            written = _written_form(item, value)
            path.append(str(written))
            value = _entry(value, written)
            is_written = written == item
    legal = _field_names(parent) if details["type"] == "extra_forbidden" else _phrase(node)
    return FieldFault(
        field=".".join(path),
        value=value,
        message=_message(details, value, node, parent),
        legal=legal,
    )


def _message(details: ErrorDetails, value: object, node: Schema, parent: Schema) -> str:
    kind, shown = details["type"], _shown(value)
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return details["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        name = str(details["loc"][-1])
        fields = _forms(parent)[0].get("properties", ()) if len(name) <= LONGEST_FIELD else ()
        near = difflib.get_close_matches(name, fields, n=1)
        return f"unknown field {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    if kind in ("greater_than", "greater_than_equal"):
        return f"{shown} is too small"
    if kind in ("less_than", "less_than_equal"):
        return f"{shown} is too large"
    if kind in ("too_short", "too_long", "string_too_long"):
        return "has too few entries" if kind == "too_short" else "is too long"
    if kind == "finite_number":
        return f"{shown} is not finite"
    if kind in ("string_pattern_mismatch", "literal_error"):
        return f"{shown} is not legal"
    return f"{shown} is not {phrases.kind_in_words(node, _schema()['$defs'])}"


def _no_form_fault(path: Sequence[str], value: object, node: Schema) -> FieldFault:
    legal = _phrase(node)
    return FieldFault(
        field=".".join(path),
        value=value,
        message=f"{_shown(value)} is not legal",
        legal=legal,
    )


def _intended(forms: Sequence[Schema], value: object) -> Schema | None:
    """Return the mapping form that shares most fields with the value, required fields first.

    None if no form shares a field.
    """
    keys = set(value) if isinstance(value, Mapping) else set()
    sharing = [form for form in forms if keys & set(form.get("properties", ()))]
    return max(
        sharing,
        key=lambda form: (len(keys & set(form["required"])), len(keys & set(form["properties"]))),
        default=None,
    )


def _phrase(node: Schema) -> str:
    return phrases.schema_in_words(node, _schema()["$defs"])


def _field_names(parent: Schema) -> str:
    return phrases.one_of(_forms(parent)[0].get("properties", ()), "the fields")


@cache
def _schema() -> Schema:
    return StudySpec.model_json_schema()


def _forms(node: Schema) -> list[Schema]:
    return phrases.forms(node, _schema()["$defs"])


def _below(node: Schema, item: object) -> Schema:
    node = _forms(node)[0]
    return (
        node.get("properties", {}).get(item)
        or node.get("items")
        or node.get("additionalProperties")
        or {}
    )


def _written_form(item: Any, value: object) -> Any:
    """Return the field that the request has: the short form where it omits the list."""
    short = SHORT_FORMS.get(item)
    is_short = isinstance(value, Mapping) and item not in value and short in value
    return short if is_short else item


def _entry(value: Any, item: Any) -> Any:
    try:
        return value[item]
    except (KeyError, IndexError, TypeError):
        return None


def _shown(value: object) -> str:
    return beginning(value, 80, "…")


def beginning(value: object, n_characters: int, mark: str) -> str:
    """Return JSON of a value, of a long text the beginning with a mark; the rest is not written."""
    text = ""
    for part in json.JSONEncoder(default=str, ensure_ascii=False).iterencode(value):
        text += part
        if len(text) > n_characters:
            return text[:n_characters] + mark
    return text
