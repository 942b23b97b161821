"""What the workers can train, as they announced it; a submission is checked against it before
anything is stored.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jsonschema

from gradnoise_service.domain.errors import FieldFault, InvalidSpecError
from gradnoise_service.domain.spec import Choices, Parameter, Range, StudySpec, Value
from gradnoise_service.domain.study import Metric


@dataclass(frozen=True, kw_only=True)
class ParameterRange:
    """The legal values of a hyperparameter: numbers from low to high (`low_open`: without low
    itself; `integer`: whole ones), or words.

    `needs` names the hyperparameters that must be given with a word.
    """

    name: str
    description: str
    low: float = float("-inf")
    high: float = float("inf")
    low_open: bool = False
    integer: bool = False
    choices: tuple[str, ...] = ()
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    @property
    def legal(self) -> str:
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        start = "(" if self.low_open or self.low == float("-inf") else "["
        end = ")" if self.high == float("inf") else "]"
        return (
            f"a {'whole ' if self.integer else ''}number in {start}{self.low:g}, {self.high:g}{end}"
        )

    def admits(self, value: Value) -> bool:
        if self.choices or isinstance(value, str | bool):
            return value in self.choices
        if self.integer and value != int(value):
            return False
        return (self.low < value if self.low_open else self.low <= value) and value <= self.high


@dataclass(frozen=True, kw_only=True)
class WorkloadEntry:
    """A workload as announced. `parameters` are hyperparameters of its own, beside the optimizer's
    and the technique's.
    """

    name: str
    description: str
    options_schema: Mapping[str, object]
    metrics: tuple[Metric, ...]
    parameters: tuple[ParameterRange, ...] = ()
    stacks: bool = False
    techniques: tuple[str, ...] | None = None  # None: all


@dataclass(frozen=True, kw_only=True)
class NamedParameters:
    """A technique or an optimizer as announced, with the hyperparameters it needs (`required`) and
    takes.
    """

    name: str
    description: str
    parameters: tuple[ParameterRange, ...] = ()
    required: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TechniqueEntry(NamedParameters):
    """A technique as announced, with what it does to an update as a formula, and where that was
    published.
    """

    formula: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """All that the workers announced; `protocol` is what every study stores: versions, the
    techniques' formulas, clip order, unit of t.
    """

    workloads: Mapping[str, WorkloadEntry]
    techniques: Mapping[str, TechniqueEntry]
    optimizers: Mapping[str, NamedParameters]
    protocol: Mapping[str, Any]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Catalogue":
        """Read the document of JSON values that the workers announce."""
        return cls(
            workloads={entry["name"]: _workload(entry) for entry in document["workloads"]},
            techniques={entry["name"]: _technique(entry) for entry in document["techniques"]},
            optimizers={
                entry["name"]: NamedParameters(**_named(entry)) for entry in document["optimizers"]
            },
            protocol={**document["protocol"], "versions": document["versions"]},
        )

    def check(self, spec: StudySpec, max_trials: int) -> Metric:
        """Return the spec's objective as a metric.

        Raises:
            InvalidSpecError: With one FieldFault for each thing that could not run.
        """
        errors = list(self._faults(spec, max_trials))
        if errors:
            raise InvalidSpecError(errors)
        metrics = {metric.name: metric for metric in self.workloads[spec.workload].metrics}
        return metrics[spec.objective] if spec.objective else next(iter(metrics.values()))

    def _faults(self, spec: StudySpec, max_trials: int) -> Iterator[FieldFault]:
        if spec.n_trials_total > max_trials:
            field, value, product = (
                "confirm.n_seeds",
                spec.confirm.n_seeds,
                "arms x combinations x n_seeds",
            )
            if spec.search is not None:
                field, value, product = (
                    "search.n_trials",
                    spec.search.n_trials,
                    "arms x (n_trials + reruns + n_seeds)",
                )
            message = (
                f"the study has {spec.n_trials_total} trials in all, more than this service allows"
            )
            yield FieldFault(
                field=field, value=value, message=message, legal=f"{product} at most {max_trials}"
            )
        if spec.optimizer not in self.optimizers:
            yield _unknown("optimizer", spec.optimizer, self.optimizers)
        for i, arm in enumerate(spec.arms):
            if arm.technique not in self.techniques:
                yield _unknown(f"arms.{i}.technique", arm.technique, self.techniques)
        if spec.workload not in self.workloads:
            yield _unknown("workload", spec.workload, self.workloads)
            return
        workload = self.workloads[spec.workload]
        names = [metric.name for metric in workload.metrics]
        if spec.objective is not None and spec.objective not in names:
            yield _unknown("objective", spec.objective, names)
        yield from _option_faults(spec, workload)
        if spec.optimizer in self.optimizers:
            yield from self._parameter_faults(spec, workload)

    def _parameter_faults(self, spec: StudySpec, workload: WorkloadEntry) -> Iterator[FieldFault]:
        optimizer = self.optimizers[spec.optimizer]
        shared = {p.name: p for p in (*optimizer.parameters, *workload.parameters)}
        yield from _space_faults("space", spec.space, shared)
        yield from _unmet_needs(spec.space, shared)
        for name in optimizer.required:
            if name not in spec.space:
                yield FieldFault(
                    field=f"space.{name}",
                    value=None,
                    message=f"the optimizer {spec.optimizer!r} needs {name!r}",
                    legal=shared[name].legal,
                )
        for i, arm in enumerate(spec.arms):
            technique = self.techniques.get(arm.technique)
            if technique is None:
                continue
            if workload.techniques is not None and arm.technique not in workload.techniques:
                message = f"the workload {workload.name!r} cannot be trained with {arm.technique!r}"
                legal = "one of " + ", ".join(sorted(workload.techniques))
                yield FieldFault(
                    field=f"arms.{i}.technique", value=arm.technique, message=message, legal=legal
                )
            own = {p.name: p for p in technique.parameters}
            yield from _space_faults(f"arms.{i}.space", arm.space, own)
            for name in technique.required:
                if name not in arm.space:
                    message = f"the technique {arm.technique!r} needs {name!r}"
                    yield FieldFault(
                        field=f"arms.{i}.space.{name}",
                        value=None,
                        message=message,
                        legal=own[name].legal,
                    )
            if spec.search is not None and spec.search.sampler == "grid":
                yield from _grid_faults(spec, i)


def _workload(entry: Mapping[str, Any]) -> WorkloadEntry:
    techniques = entry.get("techniques")
    return WorkloadEntry(
        name=entry["name"],
        description=entry["description"],
        options_schema=entry["options_schema"],
        metrics=tuple(Metric(**metric) for metric in entry["metrics"]),
        parameters=_parameters(entry),
        stacks=entry.get("stacks", False),
        techniques=None if techniques is None else tuple(techniques),
    )


def _technique(entry: Mapping[str, Any]) -> TechniqueEntry:
    # a document that was stored before techniques had a formula is read too
    return TechniqueEntry(
        **_named(entry), formula=entry.get("formula", ""), source=entry.get("source", "")
    )


def _named(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": entry["name"],
        "description": entry["description"],
        "parameters": _parameters(entry),
        "required": tuple(entry.get("required", ())),
    }


def _parameters(entry: Mapping[str, Any]) -> tuple[ParameterRange, ...]:
    def words(parameter: Mapping[str, Any]) -> dict[str, Any]:
        needs = {word: tuple(names) for word, names in parameter.get("needs", {}).items()}
        return {"choices": tuple(parameter.get("choices", ())), "needs": needs}

    return tuple(
        ParameterRange(**{**parameter, **words(parameter)})
        for parameter in entry.get("parameters", ())
    )


def _unknown(field: str, value: object, legal: Mapping[str, object] | list[str]) -> FieldFault:
    return FieldFault(
        field=field,
        value=value,
        message=f"there is no {field.split('.')[-1]} named {value!r}",
        legal="one of " + ", ".join(sorted(legal)),
    )


def _option_faults(spec: StudySpec, workload: WorkloadEntry) -> Iterator[FieldFault]:
    validator = jsonschema.Draft202012Validator(dict(workload.options_schema))
    # a JSON Schema's properties
    known: Mapping[str, object] = workload.options_schema.get("properties", {})  # type: ignore[assignment]
    for fault in sorted(
        validator.iter_errors(spec.options), key=lambda fault: list(map(str, fault.absolute_path))
    ):
        path = ".".join(["options", *map(str, fault.absolute_path)])
        yield FieldFault(
            field=path,
            value=fault.instance,
            message=fault.message,
            legal=_legal_option(fault, known),
        )


def _legal_option(fault: jsonschema.ValidationError, known: Mapping[str, object]) -> str:
    rule: tuple[Any, Any] = (fault.validator, fault.validator_value)
    match rule:
        case "additionalProperties", _:
            return f"one of the options {', '.join(sorted(known))}"
        case "enum", values:
            return f"one of {', '.join(map(str, values))}"
        case "minimum", least:
            return f"at least {least}"
        case "maximum", most:
            return f"at most {most}"
        case name, value:
            return f"{name}: {value}"


def _space_faults(
    field: str, space: Mapping[str, Parameter], known: Mapping[str, ParameterRange]
) -> Iterator[FieldFault]:
    for name, parameter in space.items():
        if name not in known:
            legal = f"one of {', '.join(sorted(known))}" if known else "no parameter at all"
            yield FieldFault(
                field=f"{field}.{name}",
                value=_plain(parameter),
                message=f"there is no parameter named {name!r} here",
                legal=legal,
            )
            continue
        if isinstance(parameter, Range) and (
            known[name].choices or (known[name].integer and not parameter.integer)
        ):
            legal = (
                known[name].legal
                if known[name].choices
                else "a range of whole numbers: integer: true"
            )
            message = f"{name} cannot be searched over all numbers of a range"
            yield FieldFault(
                field=f"{field}.{name}", value=_plain(parameter), message=message, legal=legal
            )
            continue
        for value in _extremes(parameter):
            if not known[name].admits(value):
                yield FieldFault(
                    field=f"{field}.{name}",
                    value=value,
                    message=f"{name} cannot be {value!r}",
                    legal=known[name].legal,
                )


def _unmet_needs(
    space: Mapping[str, Parameter], known: Mapping[str, ParameterRange]
) -> Iterator[FieldFault]:
    for name, parameter in space.items():
        needs = known[name].needs if name in known else {}
        for word in _extremes(parameter):
            for needed in needs.get(str(word), ()):
                if needed not in space:
                    message = f"{name} {word!r} needs {needed!r}"
                    yield FieldFault(
                        field=f"space.{needed}",
                        value=None,
                        message=message,
                        legal=known[needed].legal,
                    )


def _grid_faults(spec: StudySpec, arm_index: int) -> Iterator[FieldFault]:
    n_points = 1
    for name, parameter in spec.arm_space(spec.arms[arm_index].name).items():
        field = f"space.{name}" if name in spec.space else f"arms.{arm_index}.space.{name}"
        if isinstance(parameter, Range | Choices):
            if parameter.n_points is None:
                yield FieldFault(
                    field=field,
                    value=_plain(parameter),
                    message="a grid needs countable values",
                    legal="choices, or a range with a step",
                )
                return
            n_points *= parameter.n_points
    arm = spec.arms[arm_index]
    if n_points > spec.n_searched(arm.name):
        message = (
            f"the grid of arm {spec.arms[arm_index].name!r} has {n_points} points, more than the "
            "trials it gets"
        )
        own = f"arms.{arm_index}.n_trials" if arm.n_trials else "search.n_trials"
        yield FieldFault(
            field=own,
            value=spec.n_searched(arm.name),
            message=message,
            legal=f"at least {n_points}",
        )


def _extremes(parameter: Parameter) -> list[Value]:
    if isinstance(parameter, Range):
        return [parameter.low, parameter.high]
    return list(parameter.choices) if isinstance(parameter, Choices) else [parameter]


def _plain(parameter: Parameter) -> object:
    return (
        parameter.model_dump(exclude_defaults=True)
        if isinstance(parameter, Range | Choices)
        else parameter
    )
