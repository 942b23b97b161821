"""The text of a study, YAML or JSON, parsed into plain JSON values; errors name line and column."""

import contextlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import yaml

MAX_DEPTH = 20
MAX_YAML_CHARACTERS = 1_000_000
LINE_BREAKS_OF_YAML_1_1 = re.compile("[\x85\u2028\u2029]")


class MalformedStudyError(Exception):
    """The text is not a YAML or JSON mapping.

    `line` and `column` count from 1; None if the position is unknown.
    """

    def __init__(self, problem: str, line: int | None = None, column: int | None = None) -> None:
        self.problem = problem
        self.line = line
        self.column = column
        super().__init__(problem if line is None else f"line {line}, column {column}: {problem}")


class CoreSchema:
    """The types of plain scalars in YAML 1.2 (core schema, section 10.3.2 of its specification).

    PyYAML's own, of YAML 1.1, read 010 as 8, 1:30 as 90, `on` as true and 1e-3 as a string.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}


_NUMBER_STARTS = "-+.0123456789"
for _name, _pattern, _starts in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", _NUMBER_STARTS),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", _NUMBER_STARTS),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", _NUMBER_STARTS),
):
    for _start in _starts:
        CoreSchema.yaml_implicit_resolvers.setdefault(_start, []).append(
            (f"tag:yaml.org,2002:{_name}", re.compile(rf"(?:{_pattern})\Z"))
        )


class StudyLoader(CoreSchema, yaml.SafeLoader):
    """A safe loader of YAML 1.2, restricted to JSON values: no alias, no tag, no duplicate key."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        # PyYAML's stubs leave it bare
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _error_at("an alias (*name) is not allowed in a study: repeat the values", event)
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise _error_at(
                f"the tag {tag!r} is not allowed in a study: write text in quotes", event
            )
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _error_at(f"nested deeper than {MAX_DEPTH} levels", event)
        node = super().compose_node(parent, index)
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

    def construct_text(self, node: yaml.ScalarNode) -> str:
        """Return a string; two escapes of a surrogate pair are one character, as in JSON."""
        utf_16 = str(node.value).encode("utf-16-le", "surrogatepass")
        return utf_16.decode("utf-16-le", "surrogatepass")

    def construct_whole(self, node: yaml.ScalarNode) -> int:
        base = {"0o": 8, "0x": 16}.get(node.value[:2], 10)
        try:
            return int(node.value, base)
        except ValueError as error:  # thousands of digits
            raise _error_at(str(error), node) from None

    def construct_finite(self, node: yaml.ScalarNode) -> float:
        number = float(re.sub(r"\.(?=[in])", "", node.value.lower()))  # Python writes inf and nan
        if not math.isfinite(number):
            raise _error_at(f"a number must be finite, but got {node.value}", node)
        return number


class StudyDumper(CoreSchema, yaml.SafeDumper):
    """A dumper that quotes the strings that YAML 1.2 would read as other values."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        style = '"' if LINE_BREAKS_OF_YAML_1_1.search(text) else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _error_at(problem: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


StudyLoader.add_constructor("tag:yaml.org,2002:str", StudyLoader.construct_text)
StudyLoader.add_constructor("tag:yaml.org,2002:int", StudyLoader.construct_whole)
StudyLoader.add_constructor("tag:yaml.org,2002:float", StudyLoader.construct_finite)
StudyDumper.add_representer(str, StudyDumper.represent_text)


def dump_yaml(*documents: Mapping[str, Any]) -> str:
    """Return mappings as one YAML text, separated by `---`; `parse_yaml` reads it back."""
    return yaml.dump_all(
        map(dict, documents), Dumper=StudyDumper, sort_keys=False, allow_unicode=True, width=100
    )


def parse_yaml(text: str) -> dict[str, Any]:
    """Return the mapping in a YAML 1.2 text.

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
    """Check what PyYAML does not, and convert its errors in the block to MalformedStudyError."""
    if len(text) > MAX_YAML_CHARACTERS:
        raise MalformedStudyError(
            f"a study file has at most {MAX_YAML_CHARACTERS:,} characters, but got {len(text):,}"
        )
    if line_break := LINE_BREAKS_OF_YAML_1_1.search(text):
        raise _not_allowed(text, line_break.start())
    try:
        yield
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise MalformedStudyError(
            problem, *(mark.line + 1, mark.column + 1) if mark else ()
        ) from None
    except yaml.reader.ReaderError as error:
        raise _not_allowed(text, error.position) from None


def _not_allowed(text: str, position: int) -> MalformedStudyError:
    problem = f"the character {text[position]!a} is not allowed"
    line = text.count("\n", 0, position) + 1
    return MalformedStudyError(problem, line, position - text.rfind("\n", 0, position))


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
