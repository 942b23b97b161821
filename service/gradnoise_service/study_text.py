"""The text of a study, YAML or JSON, parsed into plain JSON values; errors name line and column."""

import contextlib
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import yaml

MAX_DEPTH = 20
MAX_YAML_CHARACTERS = 1_000_000
MAX_SURROGATE_CHARACTERS = 5_000
MAX_YAML_EVENTS = 20_000
MAX_JSON_SEPARATORS = 100_000
MAX_DIGITS = 400
SURROGATE_ESCAPE = re.compile(r"\\(u|U0000)[dD][89abAB]")
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


class StudyDumper(CoreSchema, yaml.SafeDumper):
    """A dumper that quotes the strings that YAML 1.2 would read as other values."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        style = '"' if LINE_BREAKS_OF_YAML_1_1.search(text) else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


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
        documents = _documents(text)
        if len(documents) > 1:
            raise MalformedStudyError("expected a single study, but got several, separated by ---")
        return _mapping(documents[0] if documents else None)


def parse_yaml_documents(text: str) -> list[dict[str, Any]]:
    """Return the mappings in a YAML text, separated by `---`.

    Raises:
        MalformedStudyError: As `parse_yaml`, or if the text is empty.
    """
    with _as_malformed_study(text):
        return list(map(_mapping, _documents(text) or [None]))


def _documents(text: str) -> list[Any]:
    """Return the documents of a YAML 1.2 text, restricted to JSON values.

    There is no alias, no tag and no duplicate key, and nothing is nested deeper than MAX_DEPTH.
    """
    # libyaml reads no surrogate pair of escapes, which JSON has; PyYAML's own parser is slow
    has_surrogates = SURROGATE_ESCAPE.search(text) is not None
    if has_surrogates and len(text) > MAX_SURROGATE_CHARACTERS:
        raise MalformedStudyError(
            f"a YAML text with surrogate escapes has at most {MAX_SURROGATE_CHARACTERS:,} "
            f"characters, but got {len(text):,}: write the characters, or send JSON"
        )
    parsed = yaml.parse(text, Loader=yaml.SafeLoader if has_surrogates else yaml.CSafeLoader)
    events = _first(parsed, MAX_YAML_EVENTS)
    return [
        _value(next(events), events, 1)
        for event in events
        if isinstance(event, yaml.DocumentStartEvent)
    ]


def _first(events: Iterator[yaml.Event], n: int) -> Iterator[yaml.Event]:
    """Yield the first n events; others are an error."""
    for i, event in enumerate(events):
        if i >= n:
            raise _error_at(f"a study file has at most {n:,} values", event)
        yield event


def _value(event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> Any:
    """Return the value that starts with an event, and consume its events."""
    if isinstance(event, yaml.AliasEvent):
        raise _error_at("an alias (*name) is not allowed in a study: repeat the values", event)
    tag = getattr(event, "tag", None)
    if tag is not None:
        raise _error_at(f"the tag {tag!r} is not allowed in a study: write text in quotes", event)
    if depth > MAX_DEPTH:
        raise _error_at(f"nested deeper than {MAX_DEPTH} levels", event)
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event)
    if isinstance(event, yaml.SequenceStartEvent):
        entries = iter(lambda: next(events), None)
        inner = itertools.takewhile(lambda e: not isinstance(e, yaml.SequenceEndEvent), entries)
        return [_value(each, events, depth + 1) for each in inner]
    values: dict[str, Any] = {}
    while not isinstance(key_event := next(events), yaml.MappingEndEvent):
        key = _value(key_event, events, depth + 1)
        if not isinstance(key, str):
            raise _error_at(f"a key must be a string, but got {key!r}", key_event)
        if key in values:
            raise _error_at(f"duplicate key {key!r}", key_event)
        values[key] = _value(next(events), events, depth + 1)
    return values


def _scalar(event: yaml.ScalarEvent) -> Any:
    text = event.value
    if not event.implicit[0]:
        return _text(text)
    resolvers = CoreSchema.yaml_implicit_resolvers.get(text[:1], ())
    tag = next((tag for tag, pattern in resolvers if pattern.match(text)), "")
    match tag.rpartition(":")[2]:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return _whole(event)
        case "float":
            return _finite_at(event)
        case _:
            return _text(text)


def _text(text: str) -> str:
    """Return a string; two escapes of a surrogate pair are one character, as in JSON."""
    utf_16 = text.encode("utf-16-le", "surrogatepass")
    return utf_16.decode("utf-16-le", "surrogatepass")


def _whole(event: yaml.ScalarEvent) -> int:
    base = {"0o": 8, "0x": 16}.get(event.value[:2], 10)
    if len(event.value) > MAX_DIGITS:
        raise _error_at(f"a number has at most {MAX_DIGITS} digits", event)
    return int(event.value, base)


def _finite_at(event: yaml.ScalarEvent) -> float:
    number = float(re.sub(r"\.(?=[in])", "", event.value.lower()))  # Python writes inf and nan
    if not math.isfinite(number):
        raise _error_at(f"a number must be finite, but got {event.value}", event)
    return number


def _error_at(problem: str, at: yaml.Event) -> yaml.MarkedYAMLError:
    mark: Any = at.start_mark
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


@contextlib.contextmanager
def _as_malformed_study(text: str) -> Iterator[None]:
    """Check what PyYAML does not, and convert its errors in the block to MalformedStudyError."""
    if len(text) > MAX_YAML_CHARACTERS:
        raise MalformedStudyError(
            f"a study file has at most {MAX_YAML_CHARACTERS:,} characters, but got {len(text):,}"
        )
    for illegal in (LINE_BREAKS_OF_YAML_1_1, yaml.reader.Reader.NON_PRINTABLE):
        if found := illegal.search(text):
            raise _not_allowed(text, found.start())
    try:
        yield
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise MalformedStudyError(
            problem, *(mark.line + 1, mark.column + 1) if mark else ()
        ) from None
    except (ValueError, OverflowError) as error:
        raise MalformedStudyError(f"an escape names no character: {error}") from None


def _not_allowed(text: str, position: int) -> MalformedStudyError:
    problem = f"the character {text[position]!a} is not allowed"
    line = text.count("\n", 0, position) + 1
    return MalformedStudyError(problem, line, position - text.rfind("\n", 0, position))


def parse_json(text: str) -> dict[str, Any]:
    """Return the object in a JSON text; raises as `parse_yaml`."""
    if sum(map(text.count, ",[{")) > MAX_JSON_SEPARATORS:
        raise MalformedStudyError(f"a study has at most {MAX_JSON_SEPARATORS:,} values")
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
