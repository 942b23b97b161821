"""What is legal in a study: everything that the catalogue announces is checked here."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jsonschema

from gradnoise_service.domain.catalogue import Catalogue, ParameterRange, WorkloadEntry
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.errors import FieldFault, InvalidSpecError
from gradnoise_service.domain.phrases import (
    legal_by_rule,
    one_of,
    range_in_words,
    rule_in_words,
    schema_in_words,
)
from gradnoise_service.domain.rules import Rule
from gradnoise_service.domain.space import Choices, Range, Space, as_json
from gradnoise_service.domain.spec import Arm, StudySpec
from gradnoise_service.domain.study import Metric

Ranges = Mapping[str, ParameterRange]


def check(catalogue: Catalogue, spec: StudySpec, max_trials: int) -> Metric:
    """Return the objective of a study that the workers can run.

    Args:
        catalogue: What the workers announced.
        spec: The study, with its number of seeds.
        max_trials: Most trials of a study, all arms and phases together.

    Raises:
        InvalidSpecError: With one FieldFault for each rule that the study breaks.
    """
    faults: list[FieldFault] = []
    for fault in _faults(catalogue, spec, max_trials):
        if fault not in faults:  # each arm reports the same fault of the shared space
            faults.append(fault)
    if faults:
        raise InvalidSpecError(faults)
    return _objective(catalogue.workloads[spec.workload], spec)


def too_many_trials(design: Design, max_trials: int) -> FieldFault | None:
    """Return the fault of a study with more trials than the service allows."""
    n_trials, search = design.n_trials_total, design.spec.search
    if n_trials <= max_trials:
        return None
    tuning = "n_trials + reruns"
    if design.n_repeats > 1:
        tuning = f"{design.n_repeats} repeats x ({tuning})"
    field, value, product = (
        ("confirm.n_seeds", design.n_seeds, "arms x combinations x n_seeds")
        if search is None
        else ("search.n_trials", search.n_trials, f"arms x ({tuning} + n_seeds)")
    )
    return FieldFault(
        field=field,
        value=value,
        message=f"the study has {n_trials} trials in all, more than this service allows",
        legal=f"{product} at most {max_trials}",
    )


def _faults(catalogue: Catalogue, spec: StudySpec, max_trials: int) -> Iterator[FieldFault]:
    excess = too_many_trials(Design.of(spec), max_trials)
    if excess is not None:
        yield excess
    if spec.optimizer not in catalogue.optimizers:
        yield _unknown("optimizer", spec.optimizer, catalogue.optimizers)
    for i, arm in enumerate(spec.arms):
        for k, technique in enumerate(arm.techniques):
            if technique not in catalogue.techniques:
                yield _unknown(_technique_field(i, k, arm), technique, catalogue.techniques)
    workload = catalogue.workloads.get(spec.workload)
    if workload is None:
        yield _unknown("workload", spec.workload, catalogue.workloads)
        return
    metrics = [metric.name for metric in workload.metrics]
    if spec.objective is not None and spec.objective not in metrics:
        yield _unknown("objective", spec.objective, metrics)
    else:
        yield from _difference_faults(spec, _objective(workload, spec))
    yield from _option_faults(spec, workload)
    if spec.optimizer in catalogue.optimizers:
        yield from _shared_space_faults(catalogue, spec, workload)
        for i, arm in enumerate(spec.arms):
            yield from _arm_faults(catalogue, spec, workload, i, arm)


def _objective(workload: WorkloadEntry, spec: StudySpec) -> Metric:
    by_name = {metric.name: metric for metric in workload.metrics}
    return workload.metrics[0] if spec.objective is None else by_name[spec.objective]


def _difference_faults(spec: StudySpec, metric: Metric) -> Iterator[FieldFault]:
    if metric.range is not None and spec.smallest_difference >= metric.range:
        low, high = sorted((metric.worst, metric.best or 0.0))
        yield FieldFault(
            field="smallest_difference",
            value=spec.smallest_difference,
            message=(
                f"{metric.name} lies between {low:g} and {high:g}, so no difference can exceed "
                f"{metric.range:g}"
            ),
            legal=f"a number above 0 and below {metric.range:g}",
        )


def _unknown(field: str, value: object, known: Iterable[str]) -> FieldFault:
    kind = next(part for part in reversed(field.split(".")) if not part.isdecimal())
    return FieldFault(
        field=field,
        value=value,
        message=f"there is no {kind.removesuffix('s')} named {value!r}",
        legal=one_of(sorted(known)),
    )


def _technique_field(arm_index: int, index: int, arm: Arm) -> str:
    """Return the path of a technique: that of the short form where the arm has a single one."""
    if len(arm.techniques) == 1:
        return f"arms.{arm_index}.technique"
    return f"arms.{arm_index}.techniques.{index}"


def _option_faults(spec: StudySpec, workload: WorkloadEntry) -> Iterator[FieldFault]:
    schema = workload.options_schema
    known = schema.get("properties", {})
    validator = jsonschema.Draft202012Validator(schema)
    errors = sorted(validator.iter_errors(spec.options), key=_path)
    for error in errors:
        path = _path(error)
        if path:
            yield FieldFault(
                field=".".join(["options", *path]),
                value=error.instance,
                message=f"{path[0]} cannot be {error.instance!r}",
                legal=schema_in_words(known[path[0]]),
            )
            continue
        # the options as a whole can only have unknown names: the schema requires none
        for name in sorted(spec.options.keys() - known.keys()):
            yield FieldFault(
                field=f"options.{name}",
                value=spec.options[name],
                message=f"there is no option named {name!r}",
                legal=one_of(sorted(known)),
            )
    if not errors:
        options = workload.all_options(spec.options)
        yield from _rule_faults(workload.option_rules, options, "options", {})


def _path(error: jsonschema.ValidationError) -> list[str]:
    return list(map(str, error.absolute_path))


def _shared_space_faults(
    catalogue: Catalogue, spec: StudySpec, workload: WorkloadEntry
) -> Iterator[FieldFault]:
    optimizer = catalogue.optimizers[spec.optimizer]
    known = {p.name: p for p in (*optimizer.parameters, *workload.parameters)}
    yield from _space_faults("space", spec.space, known)
    rules = (*optimizer.rules, *workload.rules)
    yield from _rule_faults(rules, spec.space, "space", known)
    owner = f"the optimizer {spec.optimizer!r}"
    yield from _missing("space", spec.space, optimizer.required, owner, known)


def _arm_faults(
    catalogue: Catalogue, spec: StudySpec, workload: WorkloadEntry, index: int, arm: Arm
) -> Iterator[FieldFault]:
    known: dict[str, ParameterRange] = {}
    for k, name in enumerate(arm.techniques):
        technique = catalogue.techniques.get(name)
        if technique is None:
            return
        field = _technique_field(index, k, arm)
        if workload.techniques is not None and name not in workload.techniques:
            yield FieldFault(
                field=field,
                value=name,
                message=f"the workload {workload.name!r} does not support {name!r}",
                legal=one_of(sorted(workload.techniques)),
            )
        shared = sorted(known.keys() & {parameter.name for parameter in technique.parameters})
        if shared:
            yield FieldFault(
                field=field,
                value=name,
                message=f"{name!r} and another technique of the arm both have {', '.join(shared)}",
                legal="techniques without a common parameter",
            )
        known |= {parameter.name: parameter for parameter in technique.parameters}
        owner = f"the technique {name!r}"
        path = f"arms.{index}.space"
        yield from _missing(path, arm.space, technique.required, owner, known)
        yield from _rule_faults(technique.rules, arm.space, path, known)
    yield from _space_faults(f"arms.{index}.space", arm.space, known)
    if spec.search is not None and spec.search.sampler == "grid":
        yield from _grid_faults(spec, index, arm)


def _missing(
    field: str, space: Space, required: Sequence[str], owner: str, known: Ranges
) -> Iterator[FieldFault]:
    for name in required:
        if name not in space:
            yield FieldFault(
                field=f"{field}.{name}",
                value=None,
                message=f"{owner} needs {name!r}",
                legal=range_in_words(known[name]),
            )


def _space_faults(field: str, space: Space, known: Ranges) -> Iterator[FieldFault]:
    for name, entry in space.items():
        path = f"{field}.{name}"
        parameter = known.get(name)
        if parameter is None:
            legal = one_of(sorted(known)) if known else "no parameter at all"
            message = f"there is no parameter named {name!r} here"
            yield FieldFault(field=path, value=as_json(entry), message=message, legal=legal)
        elif isinstance(entry, Range) and parameter.choices:
            message = f"{name} takes words, not a range of numbers"
            legal = range_in_words(parameter)
            yield FieldFault(field=path, value=as_json(entry), message=message, legal=legal)
        elif isinstance(entry, Range) and parameter.integer and not entry.integer:
            message = f"{name} takes whole numbers only"
            legal = "a range of whole numbers: integer: true"
            yield FieldFault(field=path, value=as_json(entry), message=message, legal=legal)
        else:
            for value in _extremes(entry):
                if not parameter.admits(value):
                    message = f"{name} cannot be {value!r}"
                    legal = range_in_words(parameter)
                    yield FieldFault(field=path, value=value, message=message, legal=legal)


def _rule_faults(
    rules: Iterable[Rule], entries: Mapping[str, Any], field: str, known: Ranges
) -> Iterator[FieldFault]:
    """Yield a fault for each rule that some combination of an entry's extremes breaks."""
    for rule in rules:
        names = [name for name in rule.fields if name in entries]
        combinations = itertools.product(*(_extremes(entries[name]) for name in names))
        points = (dict(zip(names, values, strict=True)) for values in combinations)
        broken = next(filter(rule.is_broken, points), None)
        if broken is not None:
            yield FieldFault(
                field=f"{field}.{rule.field}",
                value=broken.get(rule.field),
                message=f"{rule.field} {rule_in_words(rule)}",
                legal=legal_by_rule(rule, broken, known.get(rule.field)),
            )


def _grid_faults(spec: StudySpec, index: int, arm: Arm) -> Iterator[FieldFault]:
    design = Design.of(spec)
    n_points = 1
    for name, entry in design.space(arm.name).items():
        if not isinstance(entry, Range | Choices):
            continue
        if entry.n_points is None:
            yield FieldFault(
                field=f"space.{name}" if name in spec.space else f"arms.{index}.space.{name}",
                value=as_json(entry),
                message="a grid needs a finite number of values",
                legal="choices, or a range with a step",
            )
            return
        n_points *= entry.n_points
    n_trials = design.n_searched(arm.name)
    if n_points > n_trials:
        yield FieldFault(
            field=f"arms.{index}.n_trials" if arm.n_trials else "search.n_trials",
            value=n_trials,
            message=f"the grid of arm {arm.name!r} has {n_points} points, more than its trials",
            legal=f"at least {n_points}",
        )


def _extremes(entry: object) -> list[Any]:
    """Return the values of an entry that decide whether all of them are legal."""
    if isinstance(entry, Range):
        return [entry.low, entry.high]
    return list(entry.choices) if isinstance(entry, Choices) else [entry]
