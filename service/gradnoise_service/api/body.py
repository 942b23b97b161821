"""The body of a submission: JSON or YAML, checked before anything is stored."""

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
from gradnoise_service.study_file import MAX_DEPTH, MalformedStudyError, parse_json, parse_yaml

JSON_TYPES = ("application/json",)
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")
BROKEN = re.compile("[\0\ud800-\udfff]")
MAX_YAML_BYTES = 100_000  # YAML is read about a hundred times more slowly than JSON


async def _content(request: Request) -> tuple[str, bytes]:
    """Return the media type and the bytes of the body, which a thread of an endpoint then reads."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in (*JSON_TYPES, *YAML_TYPES):
        raise HTTPException(
            415,
            f"The Content-Type is {media_type!r}." if media_type else "There is no Content-Type.",
        )
    return media_type, await request.body()


Content = Annotated[tuple[str, bytes], Depends(_content)]


def read_spec(content: tuple[str, bytes]) -> StudySpec:
    """Return the study that a body describes.

    Raises:
        MalformedStudyError: If it is neither JSON nor YAML, with line and column.
        InvalidSpecError: If it is no study, with every fault.
    """
    values = _parsed(*content)
    faults = list(_unstorable(values, ()))
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
        try:
            return parse_json(text)
        except ValueError as error:  # a number of thousands of digits
            raise MalformedStudyError(str(error)) from None
    if len(body) > MAX_YAML_BYTES:
        raise too_large(MAX_YAML_BYTES)
    return parse_yaml(text)


def _unstorable(value: object, path: tuple[str, ...]) -> Iterator[FieldFault]:
    """Find what JSON may hold and a database may not: broken characters, endless depth."""
    field = ".".join(path)
    if len(path) > MAX_DEPTH:
        yield FieldFault(
            field=field,
            value=None,
            message="is nested too deeply",
            legal=f"at most {MAX_DEPTH} levels",
        )
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _unstorable(key, (*path, ascii(key)))
            yield from _unstorable(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _unstorable(inner, (*path, str(i)))
    elif isinstance(value, str) and BROKEN.search(value):
        legal = "text of Unicode characters, without NUL"
        yield FieldFault(
            field=field, value=ascii(value), message="holds a character that is none", legal=legal
        )
