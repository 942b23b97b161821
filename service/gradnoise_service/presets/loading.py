"""Reads presets from this package's YAML files."""

import copy
import functools
from importlib import resources
from typing import Any

from gradnoise_service.domain.errors import FieldFault, InvalidSpecError
from gradnoise_service.presets.paper_table import FULL, PaperTable
from gradnoise_service.presets.suite_file import SuiteFile
from gradnoise_service.study_text import parse_yaml

FILES = resources.files("gradnoise_service.presets")


def names() -> list[str]:
    """Return the names of the presets, sorted."""
    return sorted(
        file.name.removesuffix(".yaml") for file in FILES.iterdir() if file.name.endswith(".yaml")
    )


def text(name: str) -> str:
    """Return the text of a preset's file.

    Raises:
        KeyError: If there is no preset of this name.
    """
    if name not in names():
        raise KeyError(f"there is no preset named {name!r}; legal: {', '.join(names())}")
    return (FILES / f"{name}.yaml").read_text(encoding="utf-8")


def find_table(name: str) -> PaperTable | None:
    """Return a preset that is a table of the paper, None for any other; raises as `text`."""
    preset = _parsed(text(name))
    return preset if isinstance(preset, PaperTable) else None


def load(name: str, scale: str = FULL, row: str | None = None) -> list[dict[str, Any]]:
    """Return the studies of a preset as plain values of StudySpec.

    Args:
        name: The preset.
        scale: A scale of a paper table; any other preset has only `full`.
        row: A row of a paper table, None for all rows.

    Raises:
        KeyError: If there is no preset of this name.
        InvalidSpecError: If the preset does not have this scale or this row.
    """
    table = find_table(name)
    row_names = [table_row.name for table_row in table.rows] if table else []
    _check_choice(name, "scale", scale, scales(name) or [FULL])
    if row is not None:
        _check_choice(name, "row", row, row_names)
    if table is None:
        preset = _parsed(text(name))
        return preset.members() if isinstance(preset, SuiteFile) else [parse_yaml(text(name))]
    studies = zip(row_names, table.studies(scale), strict=True)
    return [copy.deepcopy(study) for row_name, study in studies if row in (None, row_name)]


def scales(name: str) -> list[str]:
    """Return the scales of a paper table, smallest first; none for any other preset.

    Raises as `text`.
    """
    table = find_table(name)
    return list(table.scales) if table else []


def describe(name: str) -> str:
    """Return the description of a preset: its question and its cost; raises as `text`."""
    preset = _parsed(text(name))
    return preset["description"] if isinstance(preset, dict) else preset.description


def _check_choice(name: str, field: str, value: str, legal: list[str]) -> None:
    if value not in legal:
        values = " | ".join(legal) or "none, because the preset is not a table"
        message = f"the preset {name!r} does not have this {field}"
        fault = FieldFault(field=field, value=value, message=message, legal=values)
        raise InvalidSpecError([fault])


@functools.cache
def _parsed(yaml_text: str) -> PaperTable | SuiteFile | dict[str, Any]:
    plain = parse_yaml(yaml_text)
    if "rows" in plain:
        return PaperTable.model_validate(plain)
    return SuiteFile.model_validate(plain) if "studies" in plain else plain
