"""The legal hyperparameters of each arm: those of its optimizer, its techniques, the workload."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gradnoise_service.domain.arm import Arm, Recipe
from gradnoise_service.domain.catalogue import (
    Catalogue,
    ParameterizedEntry,
    ParameterRange,
    WorkloadEntry,
)
from gradnoise_service.domain.errors import FieldFault
from gradnoise_service.domain.phrases import legal_by_rule, one_of, range_in_words, rule_in_words
from gradnoise_service.domain.rules import Rule
from gradnoise_service.domain.space import Choices, Range, SpaceEntry, as_json
from gradnoise_service.domain.spec import StudySpec

Field = Callable[[str], str]
"""From the name of a parameter or option to its path in the study."""


def parameter_faults(
    catalogue: Catalogue, workload: WorkloadEntry, spec: StudySpec
) -> Iterator[FieldFault]:
    """Yield the faults of the shared space and of each arm's.

    Arms with an unknown optimizer or technique are left out.
    """
    sides = [
        _Side(spec=spec, index=i, arm=arm, recipe=recipe, workload=workload, catalogue=catalogue)
        for i, arm in enumerate(spec.arms)
        if (recipe := spec.recipe(arm)).optimizer in catalogue.optimizers
        and all(name in catalogue.techniques for name in recipe.techniques)
    ]
    yield from _shared_faults(spec, sides)
    for side in sides:
        yield from _clashes(side)
        yield from _unknown_faults(side)
        for name, entry in side.recipe.space.items():
            if name in side.known:
                yield from _value_faults(side.field(name), entry, side.known[name])
        for owner, part in side.owners.items():
            yield from _missing(side, owner, part)
            yield from rule_faults(part.rules, side.recipe.space, side.field, side.known)
        yield from rule_faults(workload.rules, side.recipe.space, side.field, side.known)


def rule_faults(
    rules: Iterable[Rule],
    entries: Mapping[str, Any],
    field: Field,
    known: Mapping[str, ParameterRange],
) -> Iterator[FieldFault]:
    """Yield a fault for each rule that some combination of an entry's extremes breaks."""
    for rule in rules:
        names = [name for name in rule.fields if name in entries]
        combinations = itertools.product(*(_extremes(entries[name]) for name in names))
        points = (dict(zip(names, values, strict=True)) for values in combinations)
        broken = next(filter(rule.is_broken, points), None)
        if broken is not None:
            yield FieldFault(
                field=field(rule.field),
                value=broken.get(rule.field),
                message=f"{rule.field} {rule_in_words(rule)}",
                legal=legal_by_rule(rule, broken, known.get(rule.field)),
            )


@dataclass(frozen=True, kw_only=True)
class _Side:
    """An arm with what the catalogue announces of its recipe."""

    spec: StudySpec
    index: int
    arm: Arm
    recipe: Recipe
    workload: WorkloadEntry
    catalogue: Catalogue

    @cached_property
    def owners(self) -> dict[str, ParameterizedEntry]:
        """The optimizer and the techniques, by what the messages call them."""
        optimizer, techniques = self.recipe.optimizer, self.recipe.techniques
        return {
            f"the optimizer {optimizer!r}": self.catalogue.optimizers[optimizer],
            **{f"the technique {name!r}": self.catalogue.techniques[name] for name in techniques},
        }

    @cached_property
    def known(self) -> dict[str, ParameterRange]:
        """The arm's parameters by name."""
        of_owners = (p for part in self.owners.values() for p in part.parameters)
        return {p.name: p for p in (*of_owners, *self.workload.parameters)}

    def field(self, name: str) -> str:
        """Return the path of a parameter, given or missing.

        A missing one belongs to the arm if a technique has it or another arm gives it itself.
        """
        is_of_technique = any(
            parameter.name == name
            for technique in self.recipe.techniques
            for parameter in self.catalogue.techniques[technique].parameters
        )
        is_of_arms = is_of_technique or any(name in arm.space for arm in self.spec.arms)
        is_own = name in self.arm.space or (is_of_arms and name not in self.spec.space)
        return f"arms.{self.index}.space.{name}" if is_own else f"space.{name}"


def _shared_faults(spec: StudySpec, sides: list[_Side]) -> Iterator[FieldFault]:
    """Yield the shared parameters that not every arm has."""
    if not sides:
        return
    common = set.intersection(*(set(side.known) for side in sides))
    for name in (name for name in spec.space if name not in common):
        lacking = [side for side in sides if name not in side.known]
        message = (
            f"there is no parameter named {name!r} here"
            if len(lacking) == len(sides)
            else f"{lacking[0].arm.name!r} has no parameter named {name!r}, so not every arm can "
            "share it"
        )
        yield FieldFault(
            field=f"space.{name}",
            value=as_json(spec.space[name]),
            message=message,
            legal=f"{one_of(sorted(common))}; others in the space of the arms that have them",
        )


def _clashes(side: _Side) -> Iterator[FieldFault]:
    """Yield the techniques of an arm that have a parameter of another part of it."""
    taken = {parameter.name: "the workload" for parameter in side.workload.parameters}
    optimizer = side.catalogue.optimizers[side.recipe.optimizer]
    taken |= {parameter.name: "the optimizer" for parameter in optimizer.parameters}
    for k, technique in enumerate(side.recipe.techniques):
        names = [parameter.name for parameter in side.catalogue.techniques[technique].parameters]
        shared = sorted(set(names) & taken.keys())
        if shared:
            yield FieldFault(
                field=technique_field(side.index, k, side.arm),
                value=technique,
                message=f"{technique!r} and {taken[shared[0]]} both have {', '.join(shared)}",
                legal="techniques without a common parameter",
            )
        taken |= dict.fromkeys(names, "another technique of the arm")


def technique_field(arm_index: int, index: int, arm: Arm) -> str:
    """Return the path of a technique: that of the short form where the arm has a single one."""
    if len(arm.techniques) == 1:
        return f"arms.{arm_index}.technique"
    return f"arms.{arm_index}.techniques.{index}"


def _unknown_faults(side: _Side) -> Iterator[FieldFault]:
    parts = [*side.owners, f"the workload {side.workload.name!r}"]
    for name in (name for name in side.arm.space if name not in side.known):
        yield FieldFault(
            field=side.field(name),
            value=as_json(side.arm.space[name]),
            message=f"{', '.join(parts[:-1])} and {parts[-1]} have no parameter named {name!r}",
            legal=one_of(sorted(side.known.keys() - side.spec.space.keys())),
        )


def _missing(side: _Side, owner: str, part: ParameterizedEntry) -> Iterator[FieldFault]:
    for name in part.required:
        if name not in side.recipe.space:
            yield FieldFault(
                field=side.field(name),
                value=None,
                message=f"{owner} needs {name!r}",
                legal=range_in_words(side.known[name]),
            )


def _value_faults(path: str, entry: SpaceEntry, parameter: ParameterRange) -> Iterator[FieldFault]:
    name = parameter.name
    if isinstance(entry, Range) and parameter.choices:
        message = f"{name} takes choices, not a range of numbers"
        legal = range_in_words(parameter)
        yield FieldFault(field=path, value=as_json(entry), message=message, legal=legal)
    elif isinstance(entry, Range) and parameter.integer and not entry.integer:
        message = f"{name} takes whole numbers only"
        legal = "a range of whole numbers: integer: true"
        yield FieldFault(field=path, value=as_json(entry), message=message, legal=legal)
    else:
        for value in _extremes(entry):
            if not parameter.admits(value):
                message = f"{name} cannot be {json.dumps(value)}"
                legal = range_in_words(parameter)
                if isinstance(value, list) and all(map(parameter.admits, value)):
                    legal += f"; or several, as choices: {json.dumps(value)}"
                yield FieldFault(field=path, value=value, message=message, legal=legal)


def _extremes(entry: object) -> list[Any]:
    """Return the values of an entry that decide whether all of them are legal."""
    if isinstance(entry, Range):
        return [entry.low, entry.high]
    return list(entry.choices) if isinstance(entry, Choices) else [entry]
