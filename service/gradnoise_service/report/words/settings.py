"""Settings and search spaces as text."""

from collections.abc import Mapping, Sequence
from typing import Any

from gradnoise_service.compare.facts.findings import BestSetting
from gradnoise_service.compare.facts.tables import ArmSummary
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.space import Choices, Range, SpaceEntry, label
from gradnoise_service.domain.spec import Phase
from gradnoise_service.report.words.numbers import MISSING, as_words, count, given, number


def setting(params: Mapping[str, Any]) -> str:
    """Return a setting as text.

    >>> setting({"lr": 0.1, "clip_norm": 10}), setting({})
    ('lr 0.1, clip_norm 10', '–')
    """
    return ", ".join(f"{name} {given(value)}" for name, value in params.items()) or MISSING


def length(design: Design, phase: Phase) -> str:
    """Return how long the trials of a phase train, such as `40 epochs`."""
    epochs, every = design.epochs(phase), design.spec.budget.report_every
    if design.spec.budget.steps is None or every is None:
        return count(epochs, "epoch")
    return f"{count(epochs * every, 'step')}, measured every {every:,}"


def chosen(arm: ArmSummary) -> str:
    """Return the settings of an arm; of several searches, the values in their order."""
    settings = [found.setting for found in arm.chosen if found.setting is not None]
    names = dict.fromkeys(name for params in settings for name in params)
    return ", ".join(f"{name} {chosen_values(arm, name)}" for name in names) or MISSING


def chosen_values(arm: ArmSummary, name: str) -> str:
    """Return the values of a parameter that the searches chose; one if all are equal."""
    values = arm.values(name)
    are_equal = len(set(map(label, values))) <= 1
    return " / ".join(map(given, values[:1] if are_equal else values)) or MISSING


def best_mean(best: BestSetting) -> str:
    """Return the best mean of an arm and its setting: `0.958 at lr 0.1`."""
    return f"{number(best.mean)} at {setting(best.params)}"


def techniques(names: Sequence[str]) -> str:
    """Return the techniques of an arm.

    >>> techniques(["annealed", "weight_noise"])
    'annealed + weight noise'
    """
    return " + ".join(map(as_words, names))


def space(entry: SpaceEntry) -> str:
    """Return the search space of a parameter as text.

    >>> space(Range(low=0.003, high=0.3, log=True)), space(0.9), space(Choices(choices=[0.9]))
    ('0.003 to 0.3, logarithmic', 'fixed at 0.9', 'fixed at 0.9')
    """
    if isinstance(entry, Range):
        return _range(entry)
    values = entry.choices if isinstance(entry, Choices) else [entry]
    shown = ", ".join(map(given, values))
    return f"fixed at {shown}" if len(values) == 1 else f"one of {shown}"


def _range(entry: Range) -> str:
    scale = ", logarithmic" if entry.log else ""
    step = f", in steps of {number(entry.step)}" if entry.step else ""
    integers = ", whole numbers" if entry.integer else ""
    return f"{number(entry.low)} to {number(entry.high)}{scale}{step}{integers}"
