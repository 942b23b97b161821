"""The conformance checks of techniques detect faulty techniques."""

import dataclasses
from collections.abc import Callable

import pytest
import torch

from gradnoise import NoiseProcess, constant
from gradnoise.techniques.contribution import Contribution
from gradnoise.techniques.registry import TECHNIQUES
from gradnoise.testing import TechniqueCase, techniques


def case(contribute: Callable[..., Contribution] | None = None, **changes: object) -> TechniqueCase:
    """Return the technique `constant` under another name, with changes to its declaration."""
    declared = dataclasses.replace(TECHNIQUES.find("constant"), name="other", **changes)  # type: ignore[arg-type]
    if contribute is not None:
        declared = dataclasses.replace(declared, contribute=contribute)
    return TechniqueCase(technique=declared, params={"std": 0.1})


def drawing(std: float) -> Contribution:
    """Contribute noise whose size is drawn from the global generator."""
    if std < 0 or std != std:
        raise ValueError("std")
    return Contribution(gradient=constant(std * float(torch.rand(()))))


def counting(std: float) -> Contribution:
    """Contribute noise whose size depends on the number of calls."""
    calls: list[int] = []

    def schedule(t: int) -> float:
        calls.append(t)
        return std * len(calls)

    return Contribution(gradient=NoiseProcess.of(schedule))


@pytest.mark.parametrize(
    ("check", "faulty", "message"),
    [
        (techniques.check_declaration, case(formula=" "), "formula must not be empty"),
        (
            techniques.check_declaration,
            case(description="No stop"),
            "description must be a sentence",
        ),
        (
            techniques.check_ranges,
            case(lambda std: Contribution(gradient=constant(abs(std) if std == std else 0.0))),
            "contribute must raise ValueError on std=nan: legal is",
        ),
        (
            techniques.check_contribution,
            case(places=("weights",)),
            r"it declares the places \('weights',\), but contributes to \('gradient',\)",
        ),
        (techniques.check_contribution, case(drawing), "is not a function of t alone"),
        (techniques.check_contribution, case(counting), "is not a function of t alone"),
        (
            techniques.check_contribution,
            case(lambda std: Contribution(gradient=NoiseProcess(terms=lambda t: [(-1, std)]))),
            "update 0 draws number -1",
        ),
        (
            techniques.check_effect,
            case(lambda std: Contribution(gradient=constant(0.0))),
            "has no effect on the results",
        ),
        (
            techniques.check_equal_trials,
            case(drawing),
            "the trial changes the global generator of its caller",
        ),
        (techniques.check_stack, case(counting), "in a stack and alone the trial differs"),
        (techniques.check_resume, case(counting), "the trial differs"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_faulty_technique_is_detected(
    check: Callable[[TechniqueCase], None], faulty: TechniqueCase, message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        check(faulty)
