"""What is legal, in words: the one place that phrases ranges, schemas and rules."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gradnoise_service.domain.catalogue import ParameterRange
from gradnoise_service.domain.rules import Condition, Rule
from gradnoise_service.domain.study import Metric

Schema = Mapping[str, Any]
"""A JSON Schema."""

PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,79}$": (
        "1 to 80 letters, digits, spaces, '_', '.' or '-', the first a letter or digit"
    ),
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$": (
        "1 to 80 letters, digits, '_', '.' or '-', the first a letter or digit"
    ),
    r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,79}$": (
        "1 to 80 letters, digits, '_', '.', '@' or '-', the first a letter or digit"
    ),
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$": (
        "1 to 40 letters, digits, '_', '.' or '-', the first a letter or digit"
    ),
    r"^[a-z0-9][a-z0-9_.-]{0,39}$": (
        "1 to 40 lower-case letters, digits, '_', '.' or '-', the first a letter or digit"
    ),
    r"^[0-9a-f]{64}$": "64 hexadecimal digits",
    r"^https?://[^\s@\\#]+$": "a URL with http or https, without user and fragment",
}
"""The strings that match the patterns of our schemas."""

FORMS = {
    "Range": (
        "a range {low, high} with low below high, optionally with log (then low above 0), step or "
        "integer"
    ),
    "Choices": "choices {choices: [...]}, without duplicates",
}
"""The mapping forms of a search-space entry."""

KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a string",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
}
BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "minItems": "not empty",
    "maxItems": "at most {} entries",
    "minProperties": "not empty",
    "maxProperties": "at most {} entries",
    "maxLength": "at most {} characters",
}
DEMANDS = {
    "needs": "must be given",
    "excludes": "must not be given",
    "above": "must be above",
    "at_least": "must be at least",
    "at_most": "must be at most",
}


def one_of(values: Iterable[object], what: str = "") -> str:
    """Return an enumeration of the legal values.

    >>> one_of(["adam", "sgd"]), one_of(["lr"], "the options")
    ('one of adam, sgd', 'one of the options lr')
    """
    return f"one of {what + ' ' if what else ''}{', '.join(map(str, values))}"


def range_in_words(parameter: ParameterRange) -> str:
    """Return the legal values of a hyperparameter.

    >>> range_in_words(ParameterRange(name="lr", description="", low=0, low_open=True))
    'a number in (0, inf)'
    """
    if parameter.any_json:
        return "any JSON value"
    if parameter.choices:
        return one_of(c if isinstance(c, str) else json.dumps(c) for c in parameter.choices)
    start = "(" if parameter.low_open or parameter.low == float("-inf") else "["
    end = ")" if parameter.high == float("inf") else "]"
    kind = KINDS["integer" if parameter.integer else "number"]
    return f"{kind} in {start}{parameter.low:g}, {parameter.high:g}{end}"


def metric_in_words(metric: Metric) -> str:
    """Return the direction and the range of a metric.

    >>> metric_in_words(Metric(name="accuracy", direction="maximize", worst=0.0, best=1.0))
    'maximize, from 0 (worst) to 1 (best)'
    >>> metric_in_words(Metric(name="loss", direction="minimize", worst=100.0))
    'minimize, without a known best value; a lost run counts as at least as bad as 100'
    """
    where = "" if metric.has_test else ", on validation data only"
    if metric.best is not None:
        return f"{metric.direction}, from {metric.worst:g} (worst) to {metric.best:g} (best){where}"
    return (
        f"{metric.direction}{where}, without a known best value; a lost run counts as at least as "
        f"bad as {metric.worst:g}"
    )


def option_in_words(option: Schema) -> str:
    """Return the legal values of an option of a workload, with its default.

    >>> option_in_words({"type": "integer", "minimum": 1, "default": 8})
    'a whole number, at least 1 (default 8)'
    """
    legal = schema_in_words(option)
    return f"{legal} (default {option['default']})" if "default" in option else legal


def schema_in_words(node: Schema, definitions: Mapping[str, Schema] = {}) -> str:
    """Return the values that a schema admits.

    Args:
        definitions: The schemas that references name.

    >>> schema_in_words({"type": "integer", "minimum": 1})
    'a whole number, at least 1'
    """
    alternatives = forms(node, definitions)
    if len(alternatives) > 1:
        separator = "; or " if len(alternatives) > 2 else " or "
        return separator.join(schema_in_words(form, definitions) for form in alternatives)
    form = alternatives[0]
    if "enum" in form:
        return one_of(form["enum"])
    if "pattern" in form:
        return PATTERNS[form["pattern"]]
    if "properties" in form:
        return FORMS.get(
            form["title"], "a mapping with the fields " + ", ".join(form["properties"])
        )
    parts = [kind_in_words(form, definitions)]
    if form.get("items", {}).get("type") in KINDS:
        parts.append(f"each {kind_in_words(form['items'], definitions)}")
    return ", ".join([*parts, *_bounds(form)])


def kind_in_words(node: Schema, definitions: Mapping[str, Schema] = {}) -> str:
    """Return the types that a schema admits, such as `a number or a string`."""
    return " or ".join(
        KINDS.get(form.get("type", ""), "a legal value") for form in forms(node, definitions)
    )


def forms(node: Schema, definitions: Mapping[str, Schema] = {}) -> list[Schema]:
    """Return the alternatives of a schema, without null, references resolved."""
    node = _resolved(node, definitions)
    alternatives = [_resolved(form, definitions) for form in node.get("anyOf", [node])]
    alternatives = [form for form in alternatives if form.get("type") != "null"]
    # "a whole number or a number" is a number
    has_number = {"type": "number"} in alternatives
    return [form for form in alternatives if not has_number or form != {"type": "integer"}]


def rule_in_words(rule: Rule) -> str:
    """Return what a rule demands of its field, and when.

    >>> with_step = Condition(field="lr_schedule", values=("step",))
    >>> rule_in_words(Rule(kind="needs", field="lr_every_epochs", when=(with_step,)))
    'must be given with lr_schedule=step'
    >>> rule_in_words(Rule(kind="at_least", field="size", of="length", times=2, bound=1))
    'must be at least 2 x length + 1'
    """
    parts = [DEMANDS[rule.kind]]
    if rule.kind not in ("needs", "excludes"):
        parts.append(_limit(rule))
    if rule.meaning:
        parts.append(f"({rule.meaning})")
    if rule.when:
        parts.append("with " + " and ".join(map(_condition, rule.when)))
    return " ".join(parts)


def legal_by_rule(rule: Rule, given: Mapping[str, object], field: ParameterRange | None) -> str:
    """Return the values of its field that a rule admits together with other values.

    >>> legal_by_rule(Rule(kind="at_most", field="batch_size", bound=60000), {}, None)
    'at most 60000'
    """
    if rule.kind == "needs":
        return "a value" if field is None else range_in_words(field)
    if rule.kind == "excludes":
        return "no value"
    return f"{DEMANDS[rule.kind].removeprefix('must be ')} {rule.limit(given):.12g}"


def _limit(rule: Rule) -> str:
    if not rule.of:
        return f"{rule.bound:.12g}"
    product = rule.of if rule.times == 1 else f"{rule.times:g} x {rule.of}"
    return f"{product} + {rule.bound:g}" if rule.bound else product


def _condition(condition: Condition) -> str:
    if condition.values:
        return f"{condition.field}={' or '.join(map(str, condition.values))}"
    if condition.other_than:
        return f"{condition.field} other than {' or '.join(map(str, condition.other_than))}"
    return condition.field


def _bounds(form: Schema) -> Iterator[str]:
    for key, phrase in BOUNDS.items():
        if key in form:
            several = key == "minItems" and form[key] > 1
            yield f"at least {form[key]} entries" if several else phrase.format(form[key])


def _resolved(node: Schema, definitions: Mapping[str, Schema]) -> Schema:
    return definitions[node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node
