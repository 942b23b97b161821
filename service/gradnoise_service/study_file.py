"""Reads the text of a study, YAML or JSON, into plain JSON values, and says where it is malformed."""

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
    """The text is not a YAML or JSON mapping; `line` and `column` count from 1, None where no place
    can be named.
    """

    def __init__(self, problem: str, line: int | None = None, column: int | None = None) -> None:
        self.problem = problem
        self.line = line
        self.column = column
        super().__init__(problem if line is None else f"line {line}, column {column}: {problem}")


class StudyLoader(yaml.SafeLoader):
    """YAML's safe loader for JSON values: it reads 1e-3 as a number, as YAML 1.2 does, and refuses
    what JSON has no word for.
    """

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        # PyYAML's stubs leave it bare
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _fault("an alias (*name) is not allowed in a study: write the values out", event)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _fault(f"nested deeper than {MAX_DEPTH} levels", event)
        node = super().compose_node(parent, index)
        if node is not None and node.tag not in TAGS:
            raise _fault(f"the tag {node.tag!r} is not allowed in a study", node)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _fault(f"a key must be a text, but this is {key!r}", key_node)
            if key in values:
                raise _fault(f"the key {key!r} stands twice", key_node)
            values[key] = self.construct_object(value_node, deep=True)
        return values

    def construct_finite(self, node: yaml.ScalarNode) -> float:
        number = self.construct_yaml_float(node)
        if not math.isfinite(number):
            raise _fault(f"a number must be finite, but this is {node.value}", node)
        return number


def _fault(problem: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


StudyLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
StudyLoader.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+.0123456789"))
StudyLoader.add_constructor("tag:yaml.org,2002:float", StudyLoader.construct_finite)


def parse_yaml(text: str) -> dict[str, Any]:
    """Return the mapping that a YAML text holds.

    Raises:
        MalformedStudyError: If it is no YAML, or no mapping.

    >>> parse_yaml("space: {lr: {low: 1e-3, high: 1}}")
    {'space': {'lr': {'low': 0.001, 'high': 1}}}
    """
    with _faults_of(text):
        return _mapping(yaml.load(text, StudyLoader))


def parse_yaml_documents(text: str) -> list[dict[str, Any]]:
    """Return the mappings that a YAML text holds, at least one, with `---` between them; raises as
    `parse_yaml` does.
    """
    with _faults_of(text):
        return [_mapping(document) for document in list(yaml.load_all(text, StudyLoader)) or [None]]


@contextlib.contextmanager
def _faults_of(text: str) -> Iterator[None]:
    """Say where a text is malformed that is read in the block."""
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
    except ValueError as error:  # an explicit tag that does not fit, such as !!int x
        raise MalformedStudyError(str(error)) from None


def parse_json(text: str) -> dict[str, Any]:
    """Return the object that a JSON text holds; raises as `parse_yaml` does."""
    try:
        return _mapping(
            json.loads(
                text, object_pairs_hook=_each_key_once, parse_float=_finite, parse_constant=_finite
            )
        )
    except json.JSONDecodeError as error:
        raise MalformedStudyError(error.msg, error.lineno, error.colno) from None
    except RecursionError:
        raise MalformedStudyError(f"nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:  # a whole number of thousands of digits
        raise MalformedStudyError(str(error)) from None


def _mapping(values: object) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise MalformedStudyError(
            f"a study is a mapping of fields to values, but this is {_named(values)}"
        )
    return dict(values)


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise MalformedStudyError(f"the key {key!r} stands twice")
        values[key] = value
    return values


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise MalformedStudyError(f"a number must be finite, but this is {text}")
    return number


def _named(values: object) -> str:
    names = {type(None): "empty", list: "a list", str: "a text"}
    return names.get(type(values), f"the value {values!r}")
