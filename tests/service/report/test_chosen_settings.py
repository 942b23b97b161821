"""The settings of the arms are those that the confirm runs trained with, in every format."""

import json
from collections.abc import Callable

import pytest
import yaml

from gradnoise_service.compare.assembly import compare
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import Metric, Trial
from gradnoise_service.report.chosen_settings import chosen_settings, render

Make = Callable[..., tuple[Design, list[Trial]]]


def test_each_arm_has_the_settings_of_its_searches(make_trials: Make, accuracy: Metric) -> None:
    values = {"baseline": [0.1, 0.2, 0.3, 0.4], "noisy": [0.5, 0.6, 0.7, 0.8]}
    design, trials = make_trials(values)
    comparison = compare(design, accuracy, trials, protocol={})
    found = chosen_settings(design.spec, comparison)
    assert (found["study"], found["objective"]) == (design.spec.name, "test_accuracy")
    for name, confirmed in values.items():
        arm = found["arms"][name]
        recipe = design.spec.recipe(design.arm(name))
        assert (arm["techniques"], arm["optimizer"]) == (list(recipe.techniques), recipe.optimizer)
        [setting] = arm["settings"]
        assert setting["params"] == comparison.arm(name).chosen[0].setting
        assert setting["confirmed"] == pytest.approx(sum(confirmed) / 4)
        assert setting["n_confirmed"] == 4


def test_without_a_search_every_setting_is_given(make_grid: Make, accuracy: Metric) -> None:
    design, trials = make_grid({"baseline": [0.1] * 4, "noisy": [0.5] * 4})
    found = chosen_settings(design.spec, compare(design, accuracy, trials, protocol={}))
    for name, arm in found["arms"].items():
        assert [setting["params"] for setting in arm["settings"]] == design.settings(name)


def test_formats_hold_the_same(make_trials: Make, accuracy: Metric) -> None:
    """The Python file defines the values by name."""
    design, trials = make_trials({"baseline": [0.1, 0.2], "noisy": [0.5, 0.6]})
    comparison = compare(design, accuracy, trials, protocol={})
    found = chosen_settings(design.spec, comparison)
    assert yaml.safe_load(render(design.spec, comparison, "yaml")) == found
    assert json.loads(render(design.spec, comparison, "json")) == found
    defined: dict[str, object] = {}
    exec(render(design.spec, comparison, "python"), defined)
    assert {name: defined[name.upper()] for name in found} == found
