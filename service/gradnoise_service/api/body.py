"""The body of a submission: JSON or YAML, parsed and validated."""

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import ValidationError

from gradnoise_service.api.limits import too_large
from gradnoise_service.api.problem import media_type, unsupported
from gradnoise_service.api.validation import spec_errors
from gradnoise_service.domain.errors import MAX_FAULTS, FieldFault, InvalidSpecError
from gradnoise_service.domain.space import LARGEST, LARGEST_WHOLE, SMALLEST, is_number
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.study_text import MAX_DEPTH, MalformedStudyError, parse_json, parse_yaml

JSON_TYPES = ("application/json",)
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")
ILLEGAL_CHARACTERS = re.compile("[\0\ud800-\udfff]")
MAX_YAML_BYTES = 100_000  # YAML is parsed more slowly than JSON
MAX_VALUES = 10_000
MAX_ENTRIES = 1_000
NUMBERS = "0, or a number from 1e-100 to 1e100 in magnitude; whole numbers from -2^53 to 2^53"


async def _content(request: Request) -> tuple[str, bytes]:
    """Return media type and bytes of the body; the endpoint's thread parses them."""
    sent_as = media_type(request)
    if sent_as not in (*JSON_TYPES, *YAML_TYPES):
        raise unsupported(sent_as)
    return sent_as, await request.body()


Content = Annotated[tuple[str, bytes], Depends(_content)]


def read_spec(content: tuple[str, bytes]) -> StudySpec:
    """Return the study in a body.

    Raises:
        MalformedStudyError: If the body is neither JSON nor YAML; names line and column.
        InvalidSpecError: If the values are not a legal study; lists every fault.
    """
    return spec_of(_parsed(*content))


def spec_of(values: Mapping[str, Any]) -> StudySpec:
    """Return the study with these plain values; raises InvalidSpecError as `read_spec`."""
    faults = storage_faults(values)
    if faults:
        raise InvalidSpecError(faults)
    try:
        return StudySpec.model_validate(values)
    except ValidationError as error:
        raise InvalidSpecError(spec_errors(error, values)) from None


def _parsed(sent_as: str, body: bytes) -> Mapping[str, Any]:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedStudyError(f"byte {error.start} is not UTF-8") from None
    if sent_as in JSON_TYPES:
        return parse_json(text)
    return read_yaml(text)


def read_yaml(text: str) -> dict[str, Any]:
    """Return the plain values of a study's YAML.

    Raises:
        HTTPException: 413 if it is longer than MAX_YAML_BYTES.
        MalformedStudyError: If it is no YAML; names line and column.
    """
    if len(text.encode()) > MAX_YAML_BYTES:
        raise too_large(MAX_YAML_BYTES)
    return parse_yaml(text)


def storage_faults(values: Mapping[str, Any]) -> list[FieldFault]:
    """Return the first faults of values that are no study: too many, too deep, no legal number.

    They need no schema, so their cost is that of reading the values. What JSON can hold and the
    database cannot is among them.
    """
    return list(itertools.islice(_faults(values), MAX_FAULTS + 1))


def _faults(values: Mapping[str, Any]) -> Iterator[FieldFault]:
    n_values = 0
    left: list[tuple[object, tuple[str, ...]]] = [(values, ())]  # the next value is the last
    while left:
        value, path = left.pop()
        n_values += 1
        if n_values >= MAX_VALUES:
            legal = f"at most {MAX_VALUES:,} values in all"
            field = ".".join(path)
            yield FieldFault(field=field, value=None, message="too many values", legal=legal)
            return
        fault = _fault(value, path)
        if fault is not None:
            yield fault
        elif isinstance(value, dict):
            for key, inner in reversed(value.items()):
                left += ((inner, (*path, key)), (key, (*path, ascii(key))))
        elif isinstance(value, list):
            left += ((value[i], (*path, str(i))) for i in reversed(range(len(value))))


def _fault(value: object, path: tuple[str, ...]) -> FieldFault | None:
    """Return the fault of a value apart from those that it contains."""
    shown: object = None
    message = legal = ""
    if len(path) > MAX_DEPTH:
        message, legal = "is nested too deeply", f"at most {MAX_DEPTH} levels"
    elif isinstance(value, str):
        if ILLEGAL_CHARACTERS.search(value):
            shown, message = ascii(value), "contains NUL or a lone surrogate"
            legal = "Unicode text without NUL"
    elif isinstance(value, dict | list):
        if len(value) > MAX_ENTRIES:
            message, legal = f"has {len(value):,} entries", f"at most {MAX_ENTRIES:,} entries"
    elif is_number(value) and not _is_in_range(value):
        shown, legal = value, NUMBERS
        message = f"{value:.6g} is out of range" if isinstance(value, float) else "is out of range"
    if not message:
        return None
    return FieldFault(field=".".join(path), value=shown, message=message, legal=legal)


def _is_in_range(number: int | float) -> bool:
    if isinstance(number, int):
        return abs(number) <= LARGEST_WHOLE
    return number == 0 or SMALLEST <= abs(number) <= LARGEST
