"""The reference of the study file: every field with its legal values and its default."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from gradnoise_service.domain.phrases import Schema, forms, schema_in_words
from gradnoise_service.domain.spec import StudySpec

INTRODUCTION = """\
# The study file

Written by `gradnoise study-file --output docs/study-file.md` from the schema that also validates
submissions. A study is a YAML 1.2 or JSON mapping with the fields of the first table; a field that
is a mapping or a list of mappings has a table of its own. An entry of a `space` is a range, choices
or a single value. Rules across fields, and examples, are in [REST](rest.md); `gradnoise workloads`
lists the options of workloads and the parameters of workloads, optimizers and techniques. A number
is 0 or has a magnitude from 1e-100 to 1e100; a whole number lies between -2^53 and 2^53.
"""
HEADER = "| field | legal | default | meaning |\n|---|---|---|---|"


def reference() -> str:
    """Return the reference as a Markdown page, a section for each kind of mapping."""
    schema = StudySpec.model_json_schema()
    definitions: Mapping[str, Schema] = schema["$defs"]
    sections = [INTRODUCTION]
    for model in _models(StudySpec):
        node = schema if model is StudySpec else definitions[model.__name__]
        rows = [
            _row(name, field, node["properties"][name], definitions)
            for name, field in model.model_fields.items()
        ]
        summary = " ".join((model.__doc__ or "").split())
        sections.append("\n".join((f"## {model.__name__}", "", summary, "", HEADER, *rows, "")))
    return "\n".join(sections)


def _row(name: str, field: FieldInfo, node: Schema, definitions: Mapping[str, Schema]) -> str:
    links = [
        f"[{model.__name__}](#{model.__name__.lower()})" for model in _nested(field.annotation)
    ]
    is_model = any("properties" in form for form in forms(node, definitions))
    legal = "a mapping" if is_model else schema_in_words(node, definitions)
    see = f": {' or '.join(links)}" if links else ""
    cells = (f"`{name}`", legal + see, _default(field, node), field.description or "")
    return f"| {' | '.join(' '.join(cell.split()) for cell in cells)} |"


def _default(field: FieldInfo, node: Schema) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    plain = TypeAdapter(Any).dump_python(value, mode="json", exclude_defaults=True)
    is_legal = not isinstance(plain, int) or plain >= node.get("minimum", plain)
    return f"`{json.dumps(plain)}`" if plain or (plain in (0, False) and is_legal) else "-"


def _models(model: type[BaseModel]) -> list[type[BaseModel]]:
    """Return a model and all that its fields hold, in the order of the fields."""
    found = [model]
    for field in model.model_fields.values():
        for nested in _nested(field.annotation):
            found += [m for m in _models(nested) if m not in found]
    return found


def _nested(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for part in get_args(annotation):
        yield from _nested(part)
