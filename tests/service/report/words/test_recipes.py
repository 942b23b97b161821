"""The recipes in words: one table in every format, and what a reader must know of it."""

from collections.abc import Callable

import pytest

from gradnoise_service.compare.assembly import compare
from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.compare.facts.recipes import Change, SeveralChanges
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import Metric, Study, Trial
from gradnoise_service.report import html, json, latex, markdown
from gradnoise_service.report.document import document
from gradnoise_service.report.words.recipes import several_changes

RATES = [{"low": 0.003, "high": 0.3, "log": True}, {"low": 0.0001, "high": 0.01, "log": True}]
ARMS = [
    {"name": "baseline", "technique": "none", "space": {"lr": RATES[0], "momentum": 0.9}},
    {
        "name": "adam",
        "techniques": ["annealed", "dropout"],
        "optimizer": "adam",
        "options": {"layer_norm": True, "init": None},
        "space": {"lr": RATES[1], "eta": 0.3},
    },
]
OWNED = {"annealed": ["eta"], "sgd": ["lr", "momentum"], "adam": ["lr"], "dropout": []}


@pytest.fixture
def package(
    make_trials: Callable[..., tuple[Design, list[Trial]]],
    make_study: Callable[..., Study],
    accuracy: Metric,
) -> tuple[Study, Comparison]:
    """A study whose arms differ in many things."""
    values = {"baseline": [0.1] * 6, "adam": [0.5] * 6}
    design, trials = make_trials(values, arms=ARMS, space={"clip_norm": 1.0})
    comparison = compare(design, accuracy, trials, protocol={"parameters_of": OWNED})
    return make_study(design, accuracy), comparison


def test_the_recipes_are_one_table_in_every_format(package: tuple[Study, Comparison]) -> None:
    rows = [[row.name, *row.values.values(), row.differs] for row in document(*package).recipes]
    assert rows == [
        ["techniques", "none", "annealed + dropout", True],
        ["optimizer", "sgd", "adam", True],
        ["option layer_norm", "default", "true", True],
        ["option init", "default", "null", True],
        ["lr", "0.003 to 0.3, logarithmic", "0.0001 to 0.01, logarithmic", True],
        ["momentum", "0.9", "–", True],
        ["eta", "–", "0.3", True],
        ["option dataset", "digits", "digits", False],
        ["clip_norm", "1", "1", False],
    ]
    page = html.render(*package)
    assert "<td><b>optimizer</b></td><td><b>sgd</b></td><td><b>adam</b></td>" in page
    assert "<td>clip_norm</td><td>1</td><td>1</td><td>equal</td>" in page
    assert "| optimizer | sgd | adam | differs |" in markdown.render(*package)
    assert r"option layer\_norm & default & true & differs \\" in latex.render(*package)
    assert '"option layer_norm"' in json.render(*package)


def test_several_changes_and_unequal_ranges_are_warnings(package: tuple[Study, Comparison]) -> None:
    warnings = " ".join(document(*package).warnings)
    assert (
        "adam differs from baseline in 5 things: the technique annealed, the technique dropout, "
        "the optimizer adam in place of sgd, the option layer_norm and the option init. The "
        "verdict is about these changes together, not about any one of them." in warnings
    )
    assert (
        "adam and baseline were tuned over different values: lr 0.0001 to 0.01, logarithmic, "
        "against 0.003 to 0.3, logarithmic." in warnings
    )


def test_what_is_not_equal_is_not_listed_as_equal(package: tuple[Study, Comparison]) -> None:
    held = {text.name: text.value for text in document(*package).held_equal}
    assert held["Workload"] == "mlp (dataset digits)"
    assert held["Shared space"] == "clip_norm fixed at 1"


def test_a_technique_left_out_is_a_change() -> None:
    changes = (
        Change(kind="technique", name="", replaced="weight_noise"),
        Change(kind="parameter", name="label_smoothing"),
    )
    text = several_changes(SeveralChanges(arm="a", baseline="b", changes=changes))
    assert text.startswith(
        "a differs from b in 2 things: without the technique weight noise and the parameter "
        "label_smoothing."
    )


def test_equal_arms_are_called_an_a_a_comparison(
    make_trials: Callable[..., tuple[Design, list[Trial]]],
    make_study: Callable[..., Study],
    accuracy: Metric,
) -> None:
    arms = [{"name": "baseline", "technique": "none"}, {"name": "again", "technique": "none"}]
    design, trials = make_trials({"baseline": [0.1] * 6, "again": [0.5] * 6}, arms=arms)
    report = document(make_study(design, accuracy), compare(design, accuracy, trials, protocol={}))
    assert (
        "again and baseline have the same recipe (an A/A comparison): every difference between "
        "them is chance." in report.warnings
    )
