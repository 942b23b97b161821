"""The catalogue: the workloads, techniques and optimizers that the workers announced."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from jsonschema import Draft202012Validator

from gradnoise_service.domain.errors import FieldFault, InvalidSpecError
from gradnoise_service.domain.rules import Rule
from gradnoise_service.domain.space import Value, is_number
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric

E = TypeVar("E")


@dataclass(frozen=True, kw_only=True)
class ParameterRange:
    """The legal values of a hyperparameter: numbers from low to high, or choices.

    Args:
        low_open: Whether low itself is excluded.
        integer: Whether only whole numbers are legal.
        choices: The legal values, of any JSON type; if there are any, no others are legal.
        any_json: Whether every JSON value is legal.
    """

    name: str
    description: str
    low: float = float("-inf")
    high: float = float("inf")
    low_open: bool = False
    integer: bool = False
    choices: tuple[Value, ...] = ()
    any_json: bool = False

    def admits(self, value: Value) -> bool:
        if self.choices:
            # true is no 1
            return any(value == c and is_number(value) == is_number(c) for c in self.choices)
        if self.any_json or not is_number(value):
            return self.any_json
        if self.integer and value != int(value):
            return False
        return (self.low < value if self.low_open else self.low <= value) and value <= self.high


@dataclass(frozen=True, kw_only=True)
class WorkloadEntry:
    """A workload.

    Args:
        options_schema: Its options as a JSON Schema; the keyword `rules` holds rules across them.
        parameters: Its parameters, in addition to those of the optimizer and the techniques.
        rules: Rules across these parameters.
        stacks: Whether several trials can train as one model.
        techniques: Those that it supports; None for all.
        package: Name and version of the package that declares it; empty for a file.
    """

    name: str
    description: str
    options_schema: Mapping[str, Any]
    metrics: tuple[Metric, ...]
    parameters: tuple[ParameterRange, ...] = ()
    rules: tuple[Rule, ...] = ()
    stacks: bool = False
    techniques: tuple[str, ...] | None = None
    package: str = ""

    @cached_property
    def options_validator(self) -> Draft202012Validator:
        """The validator of the options, whose construction takes as long as a validation."""
        return Draft202012Validator(self.options_schema)

    @cached_property
    def legal_options(self) -> set[str]:
        """Options that were found to be legal, as JSON: most studies repeat those of others."""
        return set()

    @cached_property
    def option_rules(self) -> tuple[Rule, ...]:
        """The rules across options."""
        return _rules(self.options_schema.get("rules", ()))

    def all_options(self, given: Mapping[str, object]) -> dict[str, Any]:
        """Return the given options, with defaults for missing ones."""
        properties = self.options_schema.get("properties", {})
        defaults = {name: node["default"] for name, node in properties.items() if "default" in node}
        return defaults | dict(given)


@dataclass(frozen=True, kw_only=True)
class ParameterizedEntry:
    """A technique or an optimizer: its effect on an update as a formula, the formula's source, its
    hyperparameters, those that a study must give, the rules, and the package as of a workload.
    """

    name: str
    description: str
    formula: str
    source: str
    parameters: tuple[ParameterRange, ...] = ()
    required: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    package: str = ""


@dataclass(frozen=True, kw_only=True)
class BrokenEntry:
    """An installed declaration that cannot be used.

    Args:
        kind: `workload`, `technique` or `optimizer`.
        name: The name of its entry point.
        value: Where the entry point says it is, as `module:attribute`.
        package: Name and version of the package.
        error: Why it cannot be used.
    """

    kind: str
    name: str
    value: str
    package: str
    error: str


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """What the workers announced.

    `protocol` is stored with every study: versions, the techniques' formulas, the order of clipping
    and noise, the unit of t. `code_of` has a hash of the code of each installed part, by kind and
    name, such as `workload mlp`. `may_have_gpus` is False if no node can ever have a GPU that torch
    can use: the workers run on one machine without one, and no other can join.
    """

    workloads: Mapping[str, WorkloadEntry]
    techniques: Mapping[str, ParameterizedEntry]
    optimizers: Mapping[str, ParameterizedEntry]
    protocol: Mapping[str, Any]
    code_of: Mapping[str, str] = field(default_factory=dict)
    broken: tuple[BrokenEntry, ...] = ()
    may_have_gpus: bool = True

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Catalogue":
        """Read the JSON document that the workers announce."""
        return cls(
            workloads={entry["name"]: _workload(entry) for entry in document["workloads"]},
            techniques={entry["name"]: _parameterized(entry) for entry in document["techniques"]},
            optimizers={entry["name"]: _parameterized(entry) for entry in document["optimizers"]},
            protocol={**document["protocol"], "versions": document["versions"]},
            code_of=document.get("code_of", {}),
            broken=tuple(BrokenEntry(**each) for each in document.get("broken", ())),
            may_have_gpus=document.get("may_have_gpus", True),
        )

    def shadowed(self, spec: StudySpec) -> tuple[BrokenEntry, ...]:
        """Return the broken declarations whose names a study uses, although others have them."""
        used = {("workload", spec.workload)}
        for arm in spec.arms:
            recipe = spec.recipe(arm)
            used |= {("optimizer", recipe.optimizer)}
            used |= {("technique", name) for name in recipe.techniques}
        return tuple(each for each in self.broken if (each.kind, each.name) in used)

    def including(self, announced: Mapping[str, Any]) -> "Catalogue":
        """Return the catalogue with what the source of a study declares.

        Raises:
            InvalidSpecError: If the source declares a name that is announced already.
        """
        declared = Catalogue.of({**announced, "protocol": {}, "versions": {}})
        return Catalogue(
            workloads=_merged("workload", self.workloads, declared.workloads),
            techniques=_merged("technique", self.techniques, declared.techniques),
            optimizers=_merged("optimizer", self.optimizers, declared.optimizers),
            protocol=self.protocol,
            code_of=self.code_of,
            broken=self.broken,
            may_have_gpus=self.may_have_gpus,
        )


def _merged(kind: str, installed: Mapping[str, E], declared: Mapping[str, E]) -> Mapping[str, E]:
    for name in declared:
        if name in installed:
            fault = FieldFault(
                field="source",
                value=name,
                message=f"the file declares the {kind} {name!r}, and one of this name is installed",
                legal=f"another name for the {kind}",
            )
            raise InvalidSpecError([fault])
    return {**installed, **declared}


def _workload(entry: Mapping[str, Any]) -> WorkloadEntry:
    techniques = entry["techniques"]
    return WorkloadEntry(
        name=entry["name"],
        description=entry["description"],
        options_schema=entry["options_schema"],
        metrics=tuple(Metric(**metric) for metric in entry["metrics"]),
        parameters=_parameters(entry),
        rules=_rules(entry["rules"]),
        stacks=entry["stacks"],
        techniques=None if techniques is None else tuple(techniques),
        package=entry.get("package", ""),
    )


def _parameterized(entry: Mapping[str, Any]) -> ParameterizedEntry:
    return ParameterizedEntry(
        name=entry["name"],
        description=entry["description"],
        formula=entry["formula"],
        source=entry["source"],
        parameters=_parameters(entry),
        required=tuple(entry["required"]),
        rules=_rules(entry["rules"]),
        package=entry.get("package", ""),
    )


def _parameters(entry: Mapping[str, Any]) -> tuple[ParameterRange, ...]:
    return tuple(_parameter(parameter) for parameter in entry["parameters"])


def _parameter(announced: Mapping[str, Any]) -> ParameterRange:
    return ParameterRange(**{**announced, "choices": tuple(announced.get("choices", ()))})


def _rules(announced: Iterable[Mapping[str, Any]]) -> tuple[Rule, ...]:
    return tuple(map(Rule.model_validate, announced))
