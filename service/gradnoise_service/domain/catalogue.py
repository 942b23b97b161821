"""The catalogue: the workloads, techniques and optimizers that the workers announced."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gradnoise_service.domain.space import Value
from gradnoise_service.domain.study import Metric


@dataclass(frozen=True, kw_only=True)
class ParameterRange:
    """The legal values of a hyperparameter: numbers from low to high, or words.

    Args:
        low_open: Whether low itself is excluded.
        integer: Whether only whole numbers are legal.
        choices: The legal words; then no number is legal.
        needs: Hyperparameters that a word requires.
    """

    name: str
    description: str
    low: float = float("-inf")
    high: float = float("inf")
    low_open: bool = False
    integer: bool = False
    choices: tuple[str, ...] = ()
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    def admits(self, value: Value) -> bool:
        if self.choices or isinstance(value, str | bool):
            return value in self.choices
        if self.integer and value != int(value):
            return False
        return (self.low < value if self.low_open else self.low <= value) and value <= self.high


@dataclass(frozen=True, kw_only=True)
class WorkloadEntry:
    """A workload; `parameters` are its own, in addition to the optimizer's and the techniques'.

    `techniques` lists those that it supports; None for all.
    """

    name: str
    description: str
    options_schema: Mapping[str, object]
    metrics: tuple[Metric, ...]
    parameters: tuple[ParameterRange, ...] = ()
    stacks: bool = False
    techniques: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class ParameterizedEntry:
    """A technique or an optimizer, with its hyperparameters; `required` must be given."""

    name: str
    description: str
    parameters: tuple[ParameterRange, ...] = ()
    required: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TechniqueEntry(ParameterizedEntry):
    """A technique, with its effect on an update as a formula, and the formula's source."""

    formula: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """What the workers announced.

    `protocol` is stored with every study: versions, the techniques' formulas, the order of clipping
    and noise, the unit of t.
    """

    workloads: Mapping[str, WorkloadEntry]
    techniques: Mapping[str, TechniqueEntry]
    optimizers: Mapping[str, ParameterizedEntry]
    protocol: Mapping[str, Any]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Catalogue":
        """Read the JSON document that the workers announce."""
        return cls(
            workloads={entry["name"]: _workload(entry) for entry in document["workloads"]},
            techniques={entry["name"]: _technique(entry) for entry in document["techniques"]},
            optimizers={
                entry["name"]: ParameterizedEntry(**_parameterized(entry))
                for entry in document["optimizers"]
            },
            protocol={**document["protocol"], "versions": document["versions"]},
        )


def _workload(entry: Mapping[str, Any]) -> WorkloadEntry:
    techniques = entry["techniques"]
    return WorkloadEntry(
        name=entry["name"],
        description=entry["description"],
        options_schema=entry["options_schema"],
        metrics=tuple(Metric(**metric) for metric in entry["metrics"]),
        parameters=_parameters(entry),
        stacks=entry["stacks"],
        techniques=None if techniques is None else tuple(techniques),
    )


def _technique(entry: Mapping[str, Any]) -> TechniqueEntry:
    return TechniqueEntry(**_parameterized(entry), formula=entry["formula"], source=entry["source"])


def _parameterized(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": entry["name"],
        "description": entry["description"],
        "parameters": _parameters(entry),
        "required": tuple(entry["required"]),
    }


def _parameters(entry: Mapping[str, Any]) -> tuple[ParameterRange, ...]:
    return tuple(_parameter(parameter) for parameter in entry["parameters"])


def _parameter(announced: Mapping[str, Any]) -> ParameterRange:
    needs = {word: tuple(names) for word, names in announced.get("needs", {}).items()}
    choices = tuple(announced.get("choices", ()))
    return ParameterRange(**{**announced, "choices": choices, "needs": needs})
