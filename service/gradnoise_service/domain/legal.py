"""What is legal in a study: everything that the catalogue announces is checked here."""

import json
from collections.abc import Iterable, Iterator

import jsonschema

from gradnoise_service.domain.arm import Arm
from gradnoise_service.domain.catalogue import BrokenEntry, Catalogue, WorkloadEntry
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.errors import MAX_FAULTS, FieldFault, InvalidSpecError
from gradnoise_service.domain.legal_parameters import (
    parameter_faults,
    rule_faults,
    technique_field,
)
from gradnoise_service.domain.phrases import one_of, schema_in_words
from gradnoise_service.domain.space import Choices, Range, as_json
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric

MAX_LEGAL_OPTIONS = 1_000
"""Options of a workload that are remembered to be legal."""


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
        if len(faults) > MAX_FAULTS:
            break
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
    if spec.name.isdecimal():
        yield FieldFault(
            field="name",
            value=spec.name,
            message="a whole number would be taken for the id of a study",
            legal="a name with a letter, a space, '_', '.' or '-'",
        )
    excess = too_many_trials(Design.of(spec), max_trials)
    if excess is not None:
        yield excess
    if spec.devices == "gpu" and not catalogue.may_have_gpus:
        yield FieldFault(
            field="devices",
            value=spec.devices,
            message="this service runs on one machine, which has no GPU that torch can use",
            legal="auto, cpu or all; or a service with a GPU",
        )
    if spec.optimizer not in catalogue.optimizers:
        yield _unknown("optimizer", spec.optimizer, catalogue.optimizers, catalogue.broken)
    for i, arm in enumerate(spec.arms):
        if arm.optimizer is not None and arm.optimizer not in catalogue.optimizers:
            known = catalogue.optimizers
            yield _unknown(f"arms.{i}.optimizer", arm.optimizer, known, catalogue.broken)
        for k, technique in enumerate(arm.techniques):
            if technique not in catalogue.techniques:
                of_arm = technique_field(i, k, arm)
                yield _unknown(of_arm, technique, catalogue.techniques, catalogue.broken)
    workload = catalogue.workloads.get(spec.workload)
    if workload is None:
        yield _unknown("workload", spec.workload, catalogue.workloads, catalogue.broken)
        return
    metrics = [metric.name for metric in workload.metrics]
    if spec.objective is not None and spec.objective not in metrics:
        yield _unknown("objective", spec.objective, metrics)
    else:
        yield from _difference_faults(spec, _objective(workload, spec))
    is_shared_checked = False
    for i, arm in enumerate(spec.arms):
        if arm.options or not is_shared_checked:  # arms without options share their faults
            yield from _option_faults(spec, i, arm, workload)
        is_shared_checked |= not arm.options
        yield from _technique_faults(catalogue, workload, i, arm)
    yield from parameter_faults(catalogue, workload, spec)
    if spec.search is not None and spec.search.sampler == "grid":
        for i, arm in enumerate(spec.arms):
            yield from _grid_faults(spec, i, arm)


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


def _unknown(
    field: str, value: str, known: Iterable[str], broken: Iterable[BrokenEntry] = ()
) -> FieldFault:
    of_field = next(part for part in reversed(field.split(".")) if not part.isdecimal())
    kind = of_field.removesuffix("s")
    reasons = (
        f": its package {each.package} cannot be used: {each.error}"
        for each in broken
        if (each.kind, each.name) == (kind, value)
    )
    return FieldFault(
        field=field,
        value=value,
        message=f"there is no {kind} named {value!r}{next(reasons, '')}",
        legal=one_of(sorted(known)),
    )


def _option_faults(
    spec: StudySpec, index: int, arm: Arm, workload: WorkloadEntry
) -> Iterator[FieldFault]:
    options = spec.recipe(arm).options
    text = json.dumps(options)
    if text in workload.legal_options:
        return
    schema = workload.options_schema
    known = schema.get("properties", {})
    errors = sorted(workload.options_validator.iter_errors(options), key=_path)

    def field(name: str) -> str:
        return f"arms.{index}.options.{name}" if name in arm.options else f"options.{name}"

    for error in errors:
        path = _path(error)
        if path:
            yield FieldFault(
                field=".".join([field(path[0]), *path[1:]]),
                value=error.instance,
                message=f"{path[0]} cannot be {error.instance!r}",
                legal=schema_in_words(known[path[0]]),
            )
            continue
        # the options as a whole can only have unknown names: the schema requires none
        for name in sorted(options.keys() - known.keys()):
            yield FieldFault(
                field=field(name),
                value=options[name],
                message=f"there is no option named {name!r}",
                legal=one_of(sorted(known)),
            )
    if errors:
        return
    faults = list(rule_faults(workload.option_rules, workload.all_options(options), field, {}))
    yield from faults
    if not faults and len(workload.legal_options) < MAX_LEGAL_OPTIONS:
        workload.legal_options.add(text)


def _technique_faults(
    catalogue: Catalogue, workload: WorkloadEntry, index: int, arm: Arm
) -> Iterator[FieldFault]:
    for k, name in enumerate(arm.techniques):
        if (
            name in catalogue.techniques
            and workload.techniques is not None
            and name not in workload.techniques
        ):
            yield FieldFault(
                field=technique_field(index, k, arm),
                value=name,
                message=f"the workload {workload.name!r} does not support {name!r}",
                legal=one_of(sorted(workload.techniques)),
            )


def _path(error: jsonschema.ValidationError) -> list[str]:
    return list(map(str, error.absolute_path))


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
