"""Every preset is a study that the service takes."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gradnoise.workloads.catalogue import document as announced
from gradnoise_service import presets
from gradnoise_service.domain.catalogue import Catalogue
from gradnoise_service.domain.errors import InvalidSpecError
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.presets.table import Table
from gradnoise_service.settings import Settings

SCALES = [(name, scale) for name in presets.names() for scale in presets.scales(name) or ["full"]]
TABLES = {name: table for name in presets.names() if (table := presets.table(name))}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.of(announced())


@pytest.mark.parametrize(("name", "scale"), SCALES)
def test_every_study_of_a_preset_can_be_run(name: str, scale: str, catalogue: Catalogue) -> None:
    """It validates as a spec and against what the workers announce, has a name of its own, and says
    what it asks.
    """
    specs = [StudySpec.model_validate(plain) for plain in presets.load(name, scale)]
    for spec in specs:
        catalogue.check(spec, max_trials=Settings.model_fields["max_trials"].default)
        assert spec.description == presets.describe(name)
        assert spec.description.count(" ") > 10
    if table := presets.table(name):
        suffix = "" if scale == "full" else f" {scale}"
        assert [spec.name for spec in specs] == [f"{name} {row.name}{suffix}" for row in table.rows]
    else:
        assert [spec.name for spec in specs] == [name]


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_the_paper_is_whole(name: str) -> None:
    """It has its file's name and the promised scales; the paper's figures are of arms that run, at
    thresholds that are counted.
    """
    table = TABLES[name]
    assert table.name == name
    assert list(table.scales) == ["quick", "half", "full"]
    for row, plain in zip(table.rows, presets.load(name), strict=True):
        for figures in row.paper:
            assert set(figures.values) <= {arm["name"] for arm in plain["arms"]}
            assert figures.threshold is None or figures.threshold in plain["confirm"]["thresholds"]


@pytest.mark.parametrize("name", ["demo", "paper-table-1"])
def test_what_is_loaded_is_the_caller_s_own(name: str) -> None:
    """It may be changed at any depth; the next caller, and the other rows, do not see it."""
    before = presets.load(name)
    for study in presets.load(name):
        study["arms"].clear()
        study["space"]["lr"].clear()
    assert presets.load(name) == before
    first, *others = presets.load(name)
    first["space"]["lr"].clear()
    assert all(study["space"]["lr"] for study in others)


@pytest.mark.parametrize("name", TABLES)
def test_a_scale_only_shortens(name: str) -> None:
    """No study at a smaller scale trains for more epochs in all than at a larger one, and the
    smallest is smaller than the full one.
    """
    epochs = []
    for scale in TABLES[name].scales:
        specs = [StudySpec.model_validate(plain) for plain in presets.load(name, scale)]
        epochs.append(
            [
                sum(
                    spec.n_searched(a.name) * spec.epochs + spec.n_pairs * spec.confirm_epochs
                    for a in spec.arms
                )
                for spec in specs
            ]
        )
    for row in zip(*epochs, strict=True):
        assert list(row) == sorted(row)
        assert row[0] < row[-1]


def test_a_row_is_the_shared_study_with_its_own_and_the_scale_s_part_over_it() -> None:
    """Mappings merge key by key, anything else replaces; a row's own part at a scale comes last."""
    table = Table.model_validate(
        {
            "name": "t",
            "description": "d",
            "study": {"space": {"lr": 0.1}, "arms": [1, 2], "confirm": {"n_seeds": 9, "epochs": 8}},
            "rows": [
                {
                    "name": "a",
                    "title": "A",
                    "study": {"space": {"clip_norm": 10.0}, "arms": [3]},
                    "scales": {"quick": {"confirm": {"epochs": 1}}},
                },
                {"name": "b", "title": "B"},
            ],
            "scales": {"quick": {"confirm": {"n_seeds": 2}}, "full": {}},
        }
    )
    a, b = table.studies("quick")
    assert (a["name"], a["space"], a["arms"], a["confirm"]) == (
        "t a quick",
        {"lr": 0.1, "clip_norm": 10.0},
        [3],
        {"n_seeds": 2, "epochs": 1},
    )
    assert (b["name"], b["space"], b["arms"], b["confirm"]) == (
        "t b quick",
        {"lr": 0.1},
        [1, 2],
        {"n_seeds": 2, "epochs": 8},
    )
    assert [plain["name"] for plain in table.studies("full")] == ["t a", "t b"]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"row": []}, "row"),
        ({"rows": []}, "rows"),
        ({"rows": [{"name": "a", "title": "A", "arms": []}]}, "rows.0.arms"),
        ({"rows": [{"name": "a", "title": "A"}, {"name": "a", "title": "B"}]}, "different names"),
        ({"rows": [{"name": "a", "title": "A", "scales": {"half": {}}}]}, "does not have"),
        (
            {
                "rows": [
                    {
                        "name": "a",
                        "title": "A",
                        "paper": [{"statistic": "worst", "values": {"x": 1}}],
                    }
                ]
            },
            "statistic",
        ),
        (
            {
                "rows": [
                    {
                        "name": "a",
                        "title": "A",
                        "paper": [{"statistic": "reached", "values": {"x": 1}}],
                    }
                ]
            },
            "threshold",
        ),
        (
            {
                "rows": [
                    {
                        "name": "a",
                        "title": "A",
                        "paper": [{"statistic": "best", "values": {"x": 1}, "threshold": 1}],
                    }
                ]
            },
            "threshold",
        ),
        ({"scales": {"quick": {}}}, "full"),
        ({"scales": {"full": {"seed": 2}}}, "full"),
    ],
    ids=str,
)
def test_a_faulty_table_is_refused(change: dict[str, Any], fault: str) -> None:
    """An unknown key, rows of one name, a scale that is not the table's, figures that do not fit, a
    full scale that is none.
    """
    sound = {
        "name": "t",
        "description": "d",
        "study": {},
        "rows": [{"name": "a", "title": "A"}],
        "scales": {"quick": {}, "full": {}},
    }
    assert Table.model_validate(sound).rows[0].name == "a"
    with pytest.raises(ValidationError, match=fault):
        Table.model_validate(sound | change)


@pytest.mark.parametrize(
    ("name", "legal"), [("demo", "full"), ("paper-table-1", "quick | half | full")]
)
def test_an_unknown_scale_is_named_with_the_known_ones(name: str, legal: str) -> None:
    """A preset of one study has the full scale alone."""
    with pytest.raises(InvalidSpecError) as caught:
        presets.load(name, "huge")
    assert [(fault.field, fault.value, fault.legal) for fault in caught.value.errors] == [
        ("scale", "huge", legal)
    ]


def test_there_are_the_promised_presets() -> None:
    """The demo, its honest counterpart, the quick study on MNIST, the same arm twice on either
    data, and tables of the paper are there.
    """
    assert {"demo", "demo-he", "mnist-quick", "demo-twice", "mnist-twice", "paper-table-1"} <= set(
        presets.names()
    )


@pytest.mark.parametrize("name", ["demo-twice", "mnist-twice"])
def test_the_same_arm_twice_is_the_same_arm_twice(name: str) -> None:
    """Its two arms differ in nothing but their names."""
    first, second = presets.load(name)[0]["arms"]
    assert first | {"name": second["name"]} == second


def test_the_reports_that_are_kept_are_of_presets() -> None:
    """Each of the Makefile's REPORTS is one, on digits and on MNIST, with noise and with the same
    arm twice.
    """
    makefile = Path(__file__).parents[2] / "Makefile"
    (line,) = re.findall(r"^REPORTS := (.+)$", makefile.read_text(encoding="utf-8"), re.MULTILINE)
    kept = {
        (presets.load(name)[0]["options"]["dataset"], name.endswith("-twice"))
        for name in line.split()
    }
    assert kept == set(itertools.product(("digits", "mnist"), (False, True)))


def test_the_counterpart_differs_in_nothing_but_the_initial_weights() -> None:
    """demo-he is demo with He's initial weights: same space, budget and seeds."""
    demo, counterpart = (presets.load(name)[0] for name in ("demo", "demo-he"))
    assert counterpart["options"] == demo["options"] | {"init": "he"}
    told_apart = {"name", "description", "options"}
    assert {k: v for k, v in demo.items() if k not in told_apart} == {
        k: v for k, v in counterpart.items() if k not in told_apart
    }


def test_an_unknown_preset_is_named_with_the_known_ones() -> None:
    """The error names what was asked for and what there is."""
    with pytest.raises(KeyError, match=r"no preset named 'nope'; there are demo, demo-he"):
        presets.load("nope")
