"""Study files: YAML or JSON, read into plain values."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.presets import SuiteFile
from gradnoise_service.study_text import MalformedStudyError, parse_json, parse_yaml_documents

STDIN = Path("-")
StudySource = StudySpec | Mapping[str, Any] | Path
"""A study as a spec, as its plain values, or as a YAML or JSON file."""


def plain_values(study: StudySource) -> dict[str, Any]:
    """Return the plain values of a study; raises as `read_study` if it is a file."""
    if isinstance(study, StudySpec):
        return study.model_dump(mode="json", exclude_defaults=True)
    if isinstance(study, Path):
        return read_study(study)
    return dict(study)


def read_study(path: Path) -> dict[str, Any]:
    """Return the plain values of a study file: JSON if its name ends in .json, else YAML.

    The file `-` is the standard input; YAML 1.2 includes JSON.

    Raises:
        OSError: If the file cannot be read.
        MalformedStudyError: If the file is not valid JSON or YAML, or contains several studies.
    """
    study, *others = read_studies(path)
    if others:
        raise MalformedStudyError(
            f"{path.name} holds {len(others) + 1} studies: submit each of them separately"
        )
    return study


def read_studies(path: Path) -> list[dict[str, Any]]:
    """Return the plain values of every study of a file; YAML separates studies by `---`.

    A document with a list of `studies` is a suite. Raises as `read_study`, but accepts several
    studies.
    """
    try:
        content = sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedStudyError(f"not UTF-8 at byte {error.start}") from None
    is_json = path.suffix.lower() == ".json"
    documents = [parse_json(text)] if is_json else parse_yaml_documents(text)
    return [study for document in documents for study in _studies(document)]


def _studies(document: dict[str, Any]) -> list[dict[str, Any]]:
    if "studies" not in document:
        return [document]
    try:
        return SuiteFile.model_validate(document).members()
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise MalformedStudyError(f"the suite's {field}: {first['msg']}") from None
