"""The body of a submission: JSON or YAML, parsed and validated."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from gradnoise_service.api.limits import too_large
from gradnoise_service.api.validation import spec_errors
from gradnoise_service.domain.errors import FieldFault, InvalidSpecError
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.study_text import MAX_DEPTH, MalformedStudyError, parse_json, parse_yaml

JSON_TYPES = ("application/json",)
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")
ILLEGAL_CHARACTERS = re.compile("[\0\ud800-\udfff]")
MAX_YAML_BYTES = 100_000  # YAML is parsed about a hundred times more slowly than JSON


async def _content(request: Request) -> tuple[str, bytes]:
    """Return media type and bytes of the body; the endpoint's thread parses them."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in (*JSON_TYPES, *YAML_TYPES):
        detail = (
            f"The Content-Type {media_type!r} is not supported."
            if media_type
            else "The Content-Type is missing."
        )
        raise HTTPException(415, detail)
    return media_type, await request.body()


Content = Annotated[tuple[str, bytes], Depends(_content)]


def read_spec(content: tuple[str, bytes]) -> StudySpec:
    """Return the study in a body.

    Raises:
        MalformedStudyError: If the body is neither JSON nor YAML; names line and column.
        InvalidSpecError: If the values are not a legal study; lists every fault.
    """
    values = _parsed(*content)
    faults = list(storage_faults(values, ()))
    if faults:
        raise InvalidSpecError(faults)
    try:
        return StudySpec.model_validate(values)
    except ValidationError as error:
        raise InvalidSpecError(spec_errors(error, values)) from None


def _parsed(media_type: str, body: bytes) -> Mapping[str, Any]:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedStudyError(f"byte {error.start} is not UTF-8") from None
    if media_type in JSON_TYPES:
        return parse_json(text)
    if len(body) > MAX_YAML_BYTES:
        raise too_large(MAX_YAML_BYTES)
    return parse_yaml(text)


def storage_faults(value: object, path: tuple[str, ...]) -> Iterator[FieldFault]:
    """Yield what JSON can hold and the database cannot: illegal characters, deep nesting."""
    field = ".".join(path)
    if len(path) > MAX_DEPTH:
        legal = f"at most {MAX_DEPTH} levels"
        yield FieldFault(field=field, value=None, message="is nested too deeply", legal=legal)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from storage_faults(key, (*path, ascii(key)))
            yield from storage_faults(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from storage_faults(inner, (*path, str(i)))
    elif isinstance(value, str) and ILLEGAL_CHARACTERS.search(value):
        message = "contains NUL or a lone surrogate"
        legal = "Unicode text without NUL"
        yield FieldFault(field=field, value=ascii(value), message=message, legal=legal)
