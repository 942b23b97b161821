"""The arms' recipes in words: each part, and the findings on what differs."""

from gradnoise_service.compare.facts.recipes import (
    Change,
    SameRecipe,
    SeveralChanges,
    UnequalRanges,
)
from gradnoise_service.compare.recipes import Part
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.space import Choices, Range
from gradnoise_service.report.words.numbers import MISSING, as_words, count, given, listed
from gradnoise_service.report.words.settings import space, techniques


def label(part: Part) -> str:
    """Return what a part of the recipes is: `optimizer`, `option depth`, `lr`."""
    match part.kind:
        case "option":
            return f"option {part.name}"
        case "parameter":
            return part.name
        case _:
            return part.kind


def choice(part: Part, arm: str) -> str:
    """Return what an arm has in a part of the recipes."""
    if arm not in part.values:
        return "default" if part.kind == "option" else MISSING
    value = part.values[arm]
    if isinstance(value, tuple):
        return techniques(value)
    return space(value) if isinstance(value, Range | Choices) else given(value)


def several_changes(finding: SeveralChanges) -> str:
    """Return that the verdict is about all changes of an arm together."""
    changes = listed([_change(change) for change in finding.changes])
    return (
        f"{finding.arm} differs from {finding.baseline} in "
        f"{count(len(finding.changes), 'thing')}: {changes}. The verdict is about these changes "
        "together, not about any one of them."
    )


def unequal_ranges(design: Design, finding: UnequalRanges) -> str:
    """Return which parameters were tuned over different values."""
    ours, theirs = design.space(finding.arm), design.space(finding.baseline)
    ranges = "; ".join(
        f"{name} {space(ours[name])}, against {space(theirs[name])}" for name in finding.parameters
    )
    return (
        f"{finding.arm} and {finding.baseline} were tuned over different values: {ranges}. The "
        "difference between the arms includes that of these choices."
    )


def same_recipe(finding: SameRecipe) -> str:
    """Return that two arms are equal."""
    return (
        f"{finding.arm} and {finding.baseline} have the same recipe (an A/A comparison): every "
        "difference between them is chance."
    )


def _change(change: Change) -> str:
    if change.kind == "technique" and not change.name:
        return f"without the technique {as_words(change.replaced)}"
    instead = f" in place of {as_words(change.replaced)}" if change.replaced else ""
    name = as_words(change.name) if change.kind == "technique" else change.name
    return f"the {change.kind} {name}{instead}"
