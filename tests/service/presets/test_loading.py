"""Every preset is accepted by the service."""

import itertools
import re
from pathlib import Path

import pytest

from gradnoise.workloads.catalogue import document as announced
from gradnoise_service import presets
from gradnoise_service.compare.facts.recipes import UnequalRanges
from gradnoise_service.compare.recipes import recipe_findings
from gradnoise_service.domain.catalogue import Catalogue
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.errors import InvalidSpecError
from gradnoise_service.domain.legal import check
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.report.words.search import declared_limits
from gradnoise_service.settings import Settings

SCALES = [(name, scale) for name in presets.names() for scale in presets.scales(name) or ["full"]]
SUITES = ["suite-small"]
TABLES = {name: table for name in presets.names() if (table := presets.find_table(name))}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.of(announced())


@pytest.mark.parametrize(("name", "scale"), SCALES)
def test_every_study_of_a_preset_is_legal(name: str, scale: str, catalogue: Catalogue) -> None:
    """It is a legal spec, agrees with the announced workloads, and has a unique name."""
    specs = [StudySpec.model_validate(plain) for plain in presets.load(name, scale)]
    for spec in specs:
        check(catalogue, spec, max_trials=Settings.model_fields["max_trials"].default)
        assert spec.description == presets.describe(name)
        assert spec.description.count(" ") > 10
    if table := presets.find_table(name):
        suffix = "" if scale == "full" else f" {scale}"
        assert [spec.name for spec in specs] == [f"{name} {row.name}{suffix}" for row in table.rows]
    elif name in SUITES:
        assert {spec.suite for spec in specs} == {name}
        assert all(spec.name.startswith(f"{name} ") for spec in specs)
    else:
        assert [spec.name for spec in specs] == [name]


@pytest.mark.parametrize("name", TABLES)
def test_paper_table_is_consistent(name: str) -> None:
    """Its name is the file's; the paper's figures concern arms and thresholds of the study."""
    table = TABLES[name]
    assert table.name == name
    assert list(table.scales) in (["quick", "half", "full"], ["quick", "half", "full", "long"])
    for row, plain in zip(table.rows, presets.load(name), strict=True):
        for figures in row.paper:
            assert set(figures.values) <= {arm["name"] for arm in plain["arms"]}
            assert figures.threshold is None or figures.threshold in plain["confirm"]["thresholds"]


@pytest.mark.parametrize("name", ["demo", "paper-table-1"])
def test_loaded_studies_are_copies(name: str) -> None:
    """A change at any depth affects neither the next caller nor the other rows."""
    before = presets.load(name)
    for study in presets.load(name):
        study["arms"].clear()
        study["space"]["lr"].clear()
    assert presets.load(name) == before
    first, *others = presets.load(name)
    first["space"]["lr"].clear()
    assert all(study["space"]["lr"] for study in others)


@pytest.mark.parametrize("name", TABLES)
def test_smaller_scale_trains_fewer_epochs(name: str) -> None:
    """The total does not decrease with the scale, and quick is smaller than full."""
    epochs = []
    for scale in ("quick", "half", "full"):
        specs = [StudySpec.model_validate(plain) for plain in presets.load(name, scale)]
        epochs.append([Design.of(spec).n_epochs_total for spec in specs])
    for row in zip(*epochs, strict=True):
        assert list(row) == sorted(row)
        assert row[0] < row[-1]


@pytest.mark.parametrize(
    ("name", "legal"), [("demo", "full"), ("paper-table-1", "quick | half | full | long")]
)
def test_unknown_scale_is_refused_with_the_legal_scales(name: str, legal: str) -> None:
    """A preset of one study has only the scale full."""
    with pytest.raises(InvalidSpecError) as caught:
        presets.load(name, "huge")
    assert [(fault.field, fault.value, fault.legal) for fault in caught.value.errors] == [
        ("scale", "huge", legal)
    ]


def test_documented_presets_exist() -> None:
    assert {
        "demo",
        "demo-he",
        "demo-remedies",
        "mnist-quick",
        "demo-twice",
        "mnist-twice",
        "paper-table-1",
    } <= set(presets.names())


@pytest.mark.parametrize(
    "name", ["demo-twice", "mnist-twice", "twice-one-search", "twice-four-searches"]
)
def test_arms_of_a_twice_preset_differ_only_by_name(name: str) -> None:
    first, second = presets.load(name)[0]["arms"]
    assert first | {"name": second["name"]} == second


def test_the_check_of_one_search_differs_from_that_of_four_by_the_number_alone() -> None:
    one, four = (presets.load(f"twice-{n}")[0] for n in ("one-search", "four-searches"))
    assert (one["search"].pop("repeats"), four["search"].pop("repeats")) == (1, 4)
    differing = {"name", "description"}
    assert {k: v for k, v in one.items() if k not in differing} == {
        k: v for k, v in four.items() if k not in differing
    }


def test_committed_reports_are_of_presets() -> None:
    """The Makefile's REPORTS cover digits and MNIST, with noise and with the same arm twice, and a
    Transformer, which has no data set to choose.
    """
    makefile = Path(__file__).parents[3] / "Makefile"
    (line,) = re.findall(r"^REPORTS := (.+)$", makefile.read_text(encoding="utf-8"), re.MULTILINE)
    committed = {name: presets.load(name)[0] for name in line.split()}
    for name in ("char-lm", "char-lm-adamw"):
        assert committed.pop(name)["workload"] == "char-lm"
    covered = {(spec["options"]["dataset"], "twice" in name) for name, spec in committed.items()}
    assert covered == set(itertools.product(("digits", "mnist"), (False, True)))


def test_demo_he_differs_from_demo_only_by_the_initial_weights() -> None:
    """Space, budget and seeds are equal."""
    demo, counterpart = (presets.load(name)[0] for name in ("demo", "demo-he"))
    assert counterpart["options"] == demo["options"] | {"init": "he"}
    differing = {"name", "description", "options"}
    assert {k: v for k, v in demo.items() if k not in differing} == {
        k: v for k, v in counterpart.items() if k not in differing
    }


def test_each_remedy_differs_from_the_baseline_in_one_thing() -> None:
    """Only Adam is tuned over other learning rates."""
    design = Design.of(StudySpec.model_validate(presets.load("demo-remedies")[0]))
    owned = {"annealed": ["eta", "gamma"], "sgd": ["lr"], "adam": ["lr"]}
    assert list(recipe_findings(design, owned)) == [
        UnequalRanges(arm="adam", baseline="baseline", parameters=("lr",))
    ]
    assert design.spec.budget.needs_costs


def test_suite_small_has_six_workloads_of_different_kinds_with_the_same_arms() -> None:
    """Five systems and two data sets; every study gives a verdict about the technique."""
    specs = [StudySpec.model_validate(plain) for plain in presets.load("suite-small")]
    assert len({(spec.workload, spec.options.get("dataset")) for spec in specs}) == 6
    assert len({spec.workload for spec in specs}) == 5
    assert all(spec.arms == specs[0].arms for spec in specs)
    assert not any(declared_limits(Design.of(spec)) for spec in specs)
    assert {spec.search.repeats for spec in specs if spec.search} == {3}


def test_unknown_preset_is_refused_with_the_known_presets() -> None:
    with pytest.raises(
        KeyError, match=r"no preset named 'nope'; legal: char-lm, char-lm-adamw, demo, demo-he"
    ):
        presets.load("nope")
