"""Findings about what differs between the recipes of two arms."""

from typing import Literal

from gradnoise_service.compare.facts.base import Frozen


class Change(Frozen):
    """A thing in which an arm differs from the baseline.

    Args:
        name: Of the technique, optimizer, option or parameter; empty for a technique left out.
        replaced: The technique or optimizer that the baseline has in its place; empty for none.
    """

    kind: Literal["technique", "optimizer", "option", "parameter"]
    name: str
    replaced: str = ""


class SeveralChanges(Frozen):
    """An arm differs from the baseline in several things: the verdict is about all of them."""

    kind: Literal["several_changes"] = "several_changes"
    arm: str
    baseline: str
    changes: tuple[Change, ...]


class UnequalRanges(Frozen):
    """An arm and the baseline tuned the same parameters over different values."""

    kind: Literal["unequal_ranges"] = "unequal_ranges"
    arm: str
    baseline: str
    parameters: tuple[str, ...]


class SameRecipe(Frozen):
    """An arm and the baseline are equal in everything."""

    kind: Literal["same_recipe"] = "same_recipe"
    arm: str
    baseline: str
