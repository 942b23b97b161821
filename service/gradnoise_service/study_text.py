"""The text of a study, YAML or JSON, parsed into plain JSON values; errors name line and column."""

import contextlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

MAX_DEPTH = 20
TAGS = {
    f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "str", "int", "float", "bool", "null")
}
FLOAT = re.compile(r"[-+]?(?:\d[\d_]*)(?:\.\d*)?[eE][-+]?\d+$|[-+]?\.\d+(?:[eE][-+]?\d+)?$")


class MalformedStudyError(Exception):
    """The text is not a YAML or JSON mapping.

    `line` and `column` count from 1; None if the position is unknown.
    """

    def __init__(self, problem: str, line: int | None = None, column: int | None = None) -> None:
        self.problem = problem
        self.line = line
        self.column = column
        super().__init__(problem if line is None else f"line {line}, column {column}: {problem}")


class StudyLoader(yaml.SafeLoader):
    """YAML's safe loader, restricted to JSON values.

    It parses 1e-3 as a number, as YAML 1.2 does, and rejects values that JSON cannot represent.
    """

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        # PyYAML's stubs leave it bare
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _error_at("an alias (*name) is not allowed in a study: repeat the values", event)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _error_at(f"nested deeper than {MAX_DEPTH} levels", event)
        node = super().compose_node(parent, index)
        if node is not None and node.tag not in TAGS:
            raise _error_at(f"the tag {node.tag!r} is not allowed in a study", node)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _error_at(f"a key must be a string, but got {key!r}", key_node)
            if key in values:
                raise _error_at(f"duplicate key {key!r}", key_node)
            values[key] = self.construct_object(value_node, deep=True)
        return values

    def construct_finite(self, node: yaml.ScalarNode) -> float:
        number = self.construct_yaml_float(node)
        if not math.isfinite(number):
            raise _error_at(f"a number must be finite, but got {node.value}", node)
        return number


def _error_at(problem: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


StudyLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
StudyLoader.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+.0123456789"))
StudyLoader.add_constructor("tag:yaml.org,2002:float", StudyLoader.construct_finite)


def parse_yaml(text: str) -> dict[str, Any]:
    """Return the mapping in a YAML text.

    Raises:
        MalformedStudyError: If the text is not valid YAML or not a mapping.

    >>> parse_yaml("space: {lr: {low: 1e-3, high: 1}}")
    {'space': {'lr': {'low': 0.001, 'high': 1}}}
    """
    with _as_malformed_study(text):
        return _mapping(yaml.load(text, StudyLoader))


def parse_yaml_documents(text: str) -> list[dict[str, Any]]:
    """Return the mappings in a YAML text, separated by `---`.

    Raises:
        MalformedStudyError: As `parse_yaml`, or if the text is empty.
    """
    with _as_malformed_study(text):
        documents = list(yaml.load_all(text, StudyLoader)) or [None]
        return [_mapping(document) for document in documents]


@contextlib.contextmanager
def _as_malformed_study(text: str) -> Iterator[None]:
    """Convert YAML errors in the block to MalformedStudyError."""
    try:
        yield
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise MalformedStudyError(
            problem, *(mark.line + 1, mark.column + 1) if mark else ()
        ) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = (
            f"the character {chr(error.character)!r} is not allowed"
            if isinstance(error.character, int)
            else error.reason
        )
        raise MalformedStudyError(
            problem, line, error.position - text.rfind("\n", 0, error.position)
        ) from None
    except ValueError as error:  # a tag that does not match its value, such as !!int x
        raise MalformedStudyError(str(error)) from None


def parse_json(text: str) -> dict[str, Any]:
    """Return the object in a JSON text; raises as `parse_yaml`."""
    try:
        return _mapping(
            json.loads(
                text, object_pairs_hook=_unique_keys, parse_float=_finite, parse_constant=_finite
            )
        )
    except json.JSONDecodeError as error:
        raise MalformedStudyError(error.msg, error.lineno, error.colno) from None
    except RecursionError:
        raise MalformedStudyError(f"nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:  # an integer with thousands of digits
        raise MalformedStudyError(str(error)) from None


def _mapping(values: object) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise MalformedStudyError(
            f"a study must be a mapping of fields to values, but got {_described(values)}"
        )
    return dict(values)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise MalformedStudyError(f"duplicate key {key!r}")
        values[key] = value
    return values


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise MalformedStudyError(f"a number must be finite, but got {text}")
    return number


def _described(values: object) -> str:
    descriptions = {type(None): "an empty text", list: "a list", str: "a string"}
    return descriptions.get(type(values), f"the value {values!r}")
