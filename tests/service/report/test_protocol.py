"""The protocol of a study, with the formulas of each arm's techniques."""

from collections.abc import Callable

import yaml

from gradnoise_service.compare.assembly import compare
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Study
from gradnoise_service.report.protocol import protocol, spec_text


def test_an_arm_has_the_formulas_of_all_its_techniques(
    make_design: Callable[..., Design], accuracy: Metric
) -> None:
    arms = [
        {"name": "baseline", "technique": "none"},
        {"name": "noisy", "techniques": ["annealed", "dropout"]},
    ]
    stored = {
        "formulas": {"none": "g_t", "annealed": "g_t + n_t", "dropout": "a * m"},
        "versions": {"torch": "2.13.0", "python": "3.11.7"},
        "update_order": "noise is added after clipping",
        "together": {"search": {"baseline": 5, "noisy": 2}, "confirm": {"baseline": 8, "noisy": 2}},
    }
    comparison = compare(make_design(arms=arms), accuracy, [], protocol=stored)
    assert list(protocol(comparison)) == [
        ("formula of baseline", "g_t"),
        ("formula of noisy", "g_t + n_t; a * m"),
        ("versions", "torch 2.13.0, python 3.11.7"),
        ("update order", "noise is added after clipping"),
        ("stacks of the search", "baseline 5, noisy 2"),
    ]


def test_the_spec_can_be_submitted_again(
    make_design: Callable[..., Design], make_study: Callable[..., Study], accuracy: Metric
) -> None:
    design = make_design(description="a: b\n# c")
    text = spec_text(make_study(design, accuracy))
    assert StudySpec.model_validate(yaml.safe_load(text)) == design.spec
