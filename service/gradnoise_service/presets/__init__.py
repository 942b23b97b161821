"""Ready studies, one YAML file each: a single study, or a table of them at several scales.

`gradnoise submit --preset NAME --scale SCALE` sends them, with `--row ROW` one of a table.
"""

import copy
import functools
from importlib import resources
from typing import Any

from gradnoise_service.domain.errors import FieldFault, InvalidSpecError
from gradnoise_service.presets.table import FULL, Table
from gradnoise_service.study_file import parse_yaml

FILES = resources.files(__name__)


def names() -> list[str]:
    """Return the presets' names, in order."""
    return sorted(
        file.name.removesuffix(".yaml") for file in FILES.iterdir() if file.name.endswith(".yaml")
    )


def text(name: str) -> str:
    """Return a preset's file.

    Raises:
        KeyError: If there is no preset of this name.
    """
    if name not in names():
        raise KeyError(f"there is no preset named {name!r}; there are {', '.join(names())}")
    return (FILES / f"{name}.yaml").read_text(encoding="utf-8")


def table(name: str) -> Table | None:
    """Return a preset that is a table of studies, None for one that is a single study; raises as
    `text` does.
    """
    found = _read(text(name))
    return found if isinstance(found, Table) else None


def load(name: str, scale: str = FULL, row: str | None = None) -> list[dict[str, Any]]:
    """Return the plain values of a StudySpec for each study of a preset, at a scale; or of one row
    of a table alone.

    Raises:
        KeyError: If there is no preset of this name.
        InvalidSpecError: If the preset does not have this scale or this row.
    """
    found = table(name)
    rows = [one.name for one in found.rows] if found else []
    legal = {"scale": scales(name) or [FULL], "row": rows}
    for field, value in (("scale", scale), ("row", row)):
        if value is not None and value not in legal[field]:
            values = " | ".join(legal[field]) or "none, as it is a single study"
            raise InvalidSpecError(
                [
                    FieldFault(
                        field=field,
                        value=value,
                        message=f"the preset {name!r} has no such {field}",
                        legal=values,
                    )
                ]
            )
    if found is None:
        return [parse_yaml(text(name))]
    return [
        copy.deepcopy(study)
        for study, one in zip(found.studies(scale), rows, strict=True)
        if row in (None, one)
    ]


def scales(name: str) -> list[str]:
    """Return the scales of a preset, the smallest first; none for a single study. Raises as `text`
    does.
    """
    whole = table(name)
    return list(whole.scales) if whole else []


def describe(name: str) -> str:
    """Return what a preset asks, and what it costs; raises as `text` does."""
    found = _read(text(name))
    return found.description if isinstance(found, Table) else str(found["description"])


@functools.cache
def _read(yaml_text: str) -> Table | dict[str, Any]:
    plain = parse_yaml(yaml_text)
    return Table.model_validate(plain) if "rows" in plain else plain
