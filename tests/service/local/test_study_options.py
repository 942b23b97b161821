"""The study of a file follows from options, over a study file, over defaults."""

from typing import Any

import pytest

from gradnoise_service.domain.arm import default_arms
from gradnoise_service.domain.catalogue import WorkloadEntry
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric
from gradnoise_service.local.study_options import (
    OptionError,
    StudyOptions,
    assembled,
    entry,
    smallest_difference,
    value,
)

HASH = "0" * 64


def study(given: StudyOptions | None = None, in_file: dict[str, Any] | None = None) -> StudySpec:
    values = assembled(
        given or StudyOptions(),
        in_file or {},
        file="my train.py",
        workload="digits",
        source=HASH,
    )
    return StudySpec.model_validate({"smallest_difference": 0.01, **values})


def test_without_options_every_field_has_a_default() -> None:
    spec = study()
    assert (spec.name, spec.workload, spec.source, spec.seed) == ("my-train", "digits", HASH, 1)
    assert spec.space["lr"].model_dump() == {  # type: ignore[union-attr]
        "low": 1e-3,
        "high": 1e-1,
        "log": True,
        "step": None,
        "integer": False,
    }
    assert spec.arms == default_arms()
    assert spec.search is not None
    assert (spec.search.n_trials, spec.search.epochs, spec.confirm.n_seeds) == (8, 10, 12)


def test_options_replace_the_study_file_which_replaces_defaults() -> None:
    in_file = {
        "name": "mine",
        "space": {"lr": 0.5, "momentum": 0.9},
        "search": {"epochs": 3, "n_trials": 4},
        "confirm": {"n_seeds": 6, "thresholds": [0.5]},
        "options": {"width": 8, "depth": 2},
    }
    given = StudyOptions(
        space=["lr=0.1,0.2"],
        options=["width=16"],
        optimizer="adam",
        epochs=5,
        seeds=7,
        smallest_difference=0.25,
        seed=9,
    )
    spec = study(given, in_file)
    assert spec.search is not None
    assert spec.model_dump(include={"name", "optimizer", "smallest_difference", "seed"}) == {
        "name": "mine",
        "optimizer": "adam",
        "smallest_difference": 0.25,
        "seed": 9,
    }
    assert spec.space["lr"].choices == [0.1, 0.2]  # type: ignore[union-attr]
    assert spec.space["momentum"] == 0.9
    assert spec.options == {"width": 16, "depth": 2}
    assert (spec.search.epochs, spec.search.n_trials, spec.search.rerun.top) == (5, 4, 2)
    assert (spec.confirm.n_seeds, spec.confirm.thresholds) == (7, [0.5])


def test_a_study_file_without_a_search_keeps_none() -> None:
    in_file = {"search": None, "space": {"lr": 0.1}, "confirm": {"n_seeds": 4, "epochs": 2}}
    arms = ["noisy:annealed eta=0.3 gamma=0.55"]
    spec = study(StudyOptions(arms=arms, trials=3), in_file)
    assert spec.search is None


def test_arms_stand_beside_the_baseline() -> None:
    given = StudyOptions(
        arms=["noisy:annealed gamma=0.55", "quiet:wide", "both:annealed+dropout eta=0.01 rate=0.1"]
    )
    baseline, noisy, quiet, both = study(given).arms
    assert (baseline.name, baseline.techniques) == ("baseline", ["none"])
    assert noisy.space["eta"] == default_arms()[1].space["eta"]  # the paper's
    assert noisy.space["gamma"] == 0.55
    assert quiet.techniques == ["annealed"]
    eta = quiet.space["eta"]
    assert (eta.low, eta.high, eta.log) == (1e-4, 1.0, True)  # type: ignore[union-attr]
    assert (both.techniques, both.space) == (["annealed", "dropout"], {"eta": 0.01, "rate": 0.1})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-3..1e-1:log", {"low": 0.001, "high": 0.1, "log": True}),
        ("16..64:int", {"low": 16, "high": 64, "integer": True}),
        ("-1..1:step=0.5", {"low": -1, "high": 1, "step": 0.5}),
        ("1,2", {"choices": [1, 2]}),
        ("mixup,none", {"choices": ["mixup", "none"]}),
        ("0.9", 0.9),
        ("true", True),
        ("cosine", "cosine"),
        ("[0.9, 0.98]", [0.9, 0.98]),
        ("[3,3],[5,5],none", {"choices": [[3, 3], [5, 5], "none"]}),
        ('{"cut":[1,2]}', {"choices": [{"cut": [1, 2]}]}),
    ],
)
def test_entries_of_a_space(text: str, expected: object) -> None:
    assert entry(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("3", 3), ("3.0", 3.0), ("false", False)])
def test_values_have_their_types(text: str, expected: object) -> None:
    assert value(text) == expected
    assert type(value(text)) is type(expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (StudyOptions(space=["lr"]), "a parameter is NAME=VALUES"),
        (StudyOptions(space=["lr=a..b"]), "a range is LOW..HIGH with two numbers"),
        (StudyOptions(space=["lr=1..2:lin"]), "but got :lin in '1..2:lin'"),
        (StudyOptions(options=["width"]), "an option is NAME=VALUE"),
        (StudyOptions(space=["k=[3,3"]), r"is written in JSON, as in \[3,3\], but got '\[3,3'"),
        (StudyOptions(arms=["annealed"]), "an arm is NAME:TECHNIQUE"),
    ],
)
def test_another_form_is_refused_with_an_example(given: StudyOptions, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        study(given)


def objective(**changes: Any) -> WorkloadEntry:
    metric = Metric(**{"name": "m", "direction": "minimize", "worst": 1e6, **changes})
    return WorkloadEntry(name="w", description="", options_schema={}, metrics=(metric,))


def test_the_smallest_difference_follows_from_the_range_or_from_a_measured_value() -> None:
    assert smallest_difference(objective(worst=4.0, best=-1.0), None, {})[0] == 0.05
    found, reason = smallest_difference(objective(), "m", {"validation_m": -2.34})
    assert found == 0.02
    assert reason == "1 % of 2.34, the m of a short trial of the baseline"
    for measured in ({}, {"validation_m": 0.0}, {"validation_m": float("nan")}):
        with pytest.raises(OptionError, match="give it in units of m"):
            smallest_difference(objective(), None, measured)


@pytest.mark.parametrize(
    ("name", "measured", "expected"),
    [("accuracy", 0.1, 0.01), ("top5_acc", 12.0, 1.0), ("val-f1", 0.0, 0.01)],
)
def test_a_share_has_the_range_of_a_share_not_a_part_of_an_untrained_value(
    name: str, measured: float, expected: float
) -> None:
    share = objective(name=name, direction="maximize", worst=-1e6)
    found, reason = smallest_difference(share, None, {f"validation_{name}": measured})
    assert found == expected
    assert f"range of {name}, taken as 0 to " in reason


@pytest.mark.parametrize(("name", "measured"), [("reward", 9.0), ("accuracy", -3.0)])
def test_another_metric_to_maximise_has_no_default(name: str, measured: float) -> None:
    """What an untrained model reaches would be a tiny difference."""
    metric = objective(name=name, direction="maximize", worst=-1e6)
    with pytest.raises(OptionError, match=f"because {name} declares no range.*-difference 0.5"):
        smallest_difference(metric, None, {f"validation_{name}": measured})
