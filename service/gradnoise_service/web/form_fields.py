"""Fields of the form of a study: their texts, and the values that texts stand for."""

import json
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gradnoise_service.domain.errors import FieldFault
from gradnoise_service.web.space_text import entry_of, plain_value, text_of

Kind = Literal["line", "text", "value", "list", "space", "choice", "box"]
"""A line or several of text, a YAML value, a list of values, an entry of a space, one of several
choices, or a box to check."""


@dataclass(frozen=True, kw_only=True)
class FormField:
    """A field: `path` is that in the study, `text` what it shows; empty where the study omits it.

    Args:
        path: Dotted; the field's name in the form.
        label: What the reader sees.
        kind: How it is shown and read.
        text: Its text; of a box `on` or empty.
        hint: What is legal, and what it means.
        default: What an empty field stands for, as a placeholder.
        choices: Of a choice: the legal texts.
        faults: What is wrong with it.
    """

    path: str
    label: str
    kind: Kind
    text: str
    hint: str = ""
    default: str = ""
    choices: Sequence[str] = ()
    faults: Sequence[FieldFault] = field(default=())

    def value(self, text: str) -> Any:
        """Return the value that a text of this field stands for."""
        match self.kind:
            case "value":
                return plain_value(text)
            case "list":
                return plain_value(f"[{text}]") if not text.startswith("[") else plain_value(text)
            case "space":
                return entry_of(text)
            case "choice" if text in ("true", "false"):
                return text == "true"
        return text


def shown(kind: Kind, value: object) -> str:
    """Return the text that a field of a kind shows for a value; empty for None.

    >>> shown("value", 0.02), shown("list", [6, 12]), shown("line", "mlp"), shown("value", None)
    ('0.02', '6, 12', 'mlp', '')
    """
    if value is None:
        return ""
    if kind == "space":
        return text_of(value)
    if kind == "list" and isinstance(value, list):
        return ", ".join(json.dumps(each, ensure_ascii=False) for each in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def find(study: object, path: str) -> Any:
    """Return the value at a path in plain values; None where there is none.

    >>> find({"arms": [{"name": "a"}]}, "arms.0.name"), find({"arms": 3}, "arms.0.name")
    ('a', None)
    """
    for name in path.split("."):
        if isinstance(study, Mapping):
            study = study.get(name)
        elif isinstance(study, list) and name.isdecimal() and int(name) < len(study):
            study = study[int(name)]
        else:
            return None
    return study


def put(study: MutableMapping[str, Any], path: str, value: object) -> None:
    """Set the value at a path in plain values, None removes it; mappings on the way are made.

    >>> study = {"arms": [{}]}
    >>> put(study, "arms.0.space.eta", 0.3); put(study, "seed", 1); put(study, "seed", None); study
    {'arms': [{'space': {'eta': 0.3}}]}
    """
    *parents, last = path.split(".")
    at: Any = study
    for name in parents:
        below = at[int(name)] if isinstance(at, list) else at.get(name)
        if not isinstance(below, dict | list):
            below = {}
            at[name] = below
        at = below
    if value is None:
        at.pop(last, None)
    else:
        at[last] = value


def with_faults(
    fields: Sequence[FormField], faults: Sequence[FieldFault]
) -> tuple[Sequence[FormField], Sequence[FieldFault]]:
    """Return the fields with their faults, and the faults that belong to no field.

    A fault belongs to the field with the longest path that is a part of its own.
    """
    of_field: dict[str, list[FieldFault]] = {}
    paths = {each.path for each in fields}
    homeless: list[FieldFault] = []
    for fault in faults:
        home = next((path for path in _prefixes(fault.field) if path in paths), None)
        (homeless if home is None else of_field.setdefault(home, [])).append(fault)
    placed = [
        FormField(**{**each.__dict__, "faults": of_field.get(each.path, ())}) for each in fields
    ]
    return placed, homeless


def _prefixes(path: str) -> Iterator[str]:
    """Yield a path and its beginnings, the longest first; the short form of the techniques too."""
    parts = (
        path.replace(".technique", ".techniques").replace("techniquess", "techniques").split(".")
    )
    for n in range(len(parts), 0, -1):
        yield ".".join(parts[:n])
