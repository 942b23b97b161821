"""Checks of what workloads, techniques and optimizers have in common: names, sentences, ranges."""

import json
from collections.abc import Iterable, Sequence

from gradnoise.parameters import Parameter, union
from gradnoise.rules import Rule


def assert_described(name: str, description: str) -> None:
    """Raise AssertionError unless name and description can be announced."""
    assert name, "name must not be empty."
    assert name == name.strip(), f"name must have no spaces around it, but it is {name!r}."
    assert description.strip().endswith("."), (
        f"description must be a sentence with a full stop, but it is {description!r}."
    )


def assert_declared(owner: str, parameters: Sequence[Parameter], rules: Iterable[Rule]) -> None:
    """Raise AssertionError unless hyperparameters and rules can be announced."""
    try:
        union((f"{owner}, parameter {k}", [each]) for k, each in enumerate(parameters))
    except ValueError as error:
        raise AssertionError(str(error)) from None
    for parameter in parameters:
        assert parameter.description.endswith("."), (
            f"the description of {parameter.name} must be a sentence with a full stop, but it is "
            f"{parameter.description!r}."
        )
        assert parameter.choices or parameter.low < parameter.high, (
            f"the range of {parameter.name} is empty: {parameter.legal}."
        )
        json.dumps(parameter.document(), allow_nan=False)
    names = {parameter.name for parameter in parameters}
    for rule in rules:
        unknown = rule.fields - names
        assert not unknown, f"a rule mentions {sorted(unknown)}, which {owner} does not declare."
        json.dumps(rule.document(), allow_nan=False)


def assert_legal(parameter: Parameter, value: object, what: str) -> None:
    """Raise AssertionError unless a value is in the parameter's range."""
    try:
        parameter.check(value)
    except ValueError as error:
        raise AssertionError(f"{what} is illegal: {error}") from None
