"""Recipes: what differs between the arms and what is equal."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gradnoise_service.compare.facts.recipes import (
    Change,
    SameRecipe,
    SeveralChanges,
    UnequalRanges,
)
from gradnoise_service.domain.arm import Recipe
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.space import Choices, Range

Owned = Mapping[str, Sequence[str]]
"""The parameters of each technique and optimizer of a study, by its name."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of the recipes.

    Args:
        name: Of the option or parameter; empty for techniques and optimizer.
        values: What each arm has, by arm; an arm that does not give it is left out.
        differs: Whether not all arms have the same.
    """

    kind: Literal["techniques", "optimizer", "option", "parameter"]
    name: str
    values: Mapping[str, object]
    differs: bool


def parts(design: Design) -> list[Part]:
    """Return every part of the arms' recipes, those that differ first."""
    recipes = {arm.name: design.spec.recipe(arm) for arm in design.spec.arms}
    options = dict.fromkeys(name for recipe in recipes.values() for name in recipe.options)
    names = dict.fromkeys(name for recipe in recipes.values() for name in recipe.space)
    found = [
        _part("techniques", "", {arm: recipe.techniques for arm, recipe in recipes.items()}),
        _part("optimizer", "", {arm: recipe.optimizer for arm, recipe in recipes.items()}),
    ]
    for name in options:
        given = {arm: r.options[name] for arm, r in recipes.items() if name in r.options}
        found.append(_part("option", name, given, len(recipes)))
    for name in names:
        entries = {arm: r.space[name] for arm, r in recipes.items() if name in r.space}
        found.append(_part("parameter", name, entries, len(recipes)))
    return sorted(found, key=lambda part: not part.differs)


def recipe_findings(
    design: Design, owned: Owned
) -> Iterator[SeveralChanges | UnequalRanges | SameRecipe]:
    """Yield, for each arm, what a reader must know of its differences from the baseline.

    Args:
        owned: Which parameters come with a technique or optimizer: they are no change of their own
            in an arm that alone has it. A part without an entry may own any parameter.
    """
    baseline = design.baseline
    base = design.spec.recipe(baseline)
    for arm in design.spec.arms[1:]:
        recipe = design.spec.recipe(arm)
        if recipe == base:
            yield SameRecipe(arm=arm.name, baseline=baseline.name)
        changes = tuple(_changes(recipe, base, owned))
        if len(changes) > 1:
            yield SeveralChanges(arm=arm.name, baseline=baseline.name, changes=changes)
        ranges = tuple(
            name
            for name, entry in recipe.space.items()
            if _is_searched(entry)
            and _is_searched(base.space.get(name))
            and entry != base.space[name]
        )
        if ranges:
            yield UnequalRanges(arm=arm.name, baseline=baseline.name, parameters=ranges)


def _part(
    kind: Literal["techniques", "optimizer", "option", "parameter"],
    name: str,
    values: Mapping[str, object],
    n_arms: int = 0,
) -> Part:
    given = list(values.values())
    differs = len(given) < n_arms or any(value != given[0] for value in given)
    return Part(kind=kind, name=name, values=values, differs=differs)


def _changes(recipe: Recipe, base: Recipe, owned: Owned) -> Iterator[Change]:
    added = [name for name in recipe.techniques if name not in (*base.techniques, "none")]
    removed = [name for name in base.techniques if name not in (*recipe.techniques, "none")]
    for name, replaced in itertools.zip_longest(added, removed, fillvalue=""):
        yield Change(kind="technique", name=name, replaced=replaced)
    if recipe.optimizer != base.optimizer:
        yield Change(kind="optimizer", name=recipe.optimizer, replaced=base.optimizer)
    for name in dict.fromkeys([*base.options, *recipe.options]):
        if _differs(name, recipe.options, base.options):
            yield Change(kind="option", name=name)
    own_parts = {*recipe.techniques, recipe.optimizer} ^ {*base.techniques, base.optimizer}
    own_parts.discard("none")
    for name in dict.fromkeys([*base.space, *recipe.space]):
        is_in_both = name in recipe.space and name in base.space
        are_searched = _is_searched(recipe.space.get(name)) and _is_searched(base.space.get(name))
        if (
            _differs(name, recipe.space, base.space)
            and not are_searched
            and (is_in_both or all(name not in owned.get(part, (name,)) for part in own_parts))
        ):
            yield Change(kind="parameter", name=name)


def _differs(name: str, ours: Mapping[str, object], theirs: Mapping[str, object]) -> bool:
    return (name in ours) != (name in theirs) or ours.get(name) != theirs.get(name)


def _is_searched(entry: object) -> bool:
    return isinstance(entry, Range | Choices)
