"""The form of a study shows what its YAML holds, and an edit of it changes the YAML alone there."""

import copy
from typing import Any

import pytest

from gradnoise.workloads.catalogue import document
from gradnoise_service import presets
from gradnoise_service.domain.catalogue import Catalogue
from gradnoise_service.domain.errors import FieldFault
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.study_text import dump_yaml, parse_yaml
from gradnoise_service.web.study_form import StudyForm, edited, form_of, with_arm, without_arm


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.of(document())


def texts(form: StudyForm) -> dict[str, str]:
    return {field.path: field.text for section in form.sections for field in section.fields}


@pytest.mark.parametrize("name", presets.names())
def test_an_untouched_form_leaves_every_preset_as_it_is(name: str, catalogue: Catalogue) -> None:
    for study in presets.load(name):
        shown = texts(form_of(study, catalogue))
        assert edited(study, catalogue, shown) == study
        # the placeholder of an empty field is no value
        assert "" in shown.values()
        assert parse_yaml(dump_yaml(study)) == study


def test_edits_change_their_paths_alone(catalogue: Catalogue) -> None:
    demo = presets.load("demo")[0]
    shown = texts(form_of(demo, catalogue))
    changes = {
        "options.depth": "5",
        "options.norm": "layer",
        "space.lr": "0.001 to 1 log",
        "space.momentum": "0.9",
        "arms.1.space.eta": "",
        "arms.1.techniques.dropout": "on",
        "search.pruner": "median",
        "search.rerun.top": "5",
        "confirm.looks": "6, 9",
        "confirm.anytime": "false",
        "confirm.n_seeds": "many",
        "seed": "",
    }
    found = edited(demo, catalogue, shown | changes | {"unknown.path": "1"})
    wanted: dict[str, Any] = copy.deepcopy(demo)
    wanted["options"] |= {"depth": 5, "norm": "layer"}
    wanted["space"] = {"lr": {"low": 0.001, "high": 1, "log": True}, "momentum": 0.9}
    wanted["arms"][1] = {
        "name": "noisy",
        "techniques": ["annealed", "dropout"],
        "space": {"gamma": {"low": 0.3, "high": 0.9}},
    }
    wanted["search"] |= {"pruner": "median", "rerun": {"top": 5}}
    wanted["confirm"] |= {"looks": [6, 9], "anytime": False, "n_seeds": "many"}
    del wanted["seed"]
    assert found == wanted
    # the form of the new values has the fields of the new technique
    assert "arms.1.space.rate" in texts(form_of(found, catalogue))


def test_arms_are_added_and_removed(catalogue: Catalogue) -> None:
    demo = presets.load("demo")[0]
    added = with_arm(demo)
    assert [arm["name"] for arm in added["arms"]] == ["baseline", "noisy", "arm2"]
    StudySpec.model_validate(added)
    assert without_arm(added, 2) == demo
    assert "arms.2.space.eta" in texts(form_of(added, catalogue))


def test_faults_stand_at_the_fields_that_have_them(catalogue: Catalogue) -> None:
    demo = presets.load("demo")[0]
    paths = {
        "space.lr.low": "space.lr",
        "arms.1.technique": None,
        "confirm.n_seeds": "confirm.n_seeds",
        "search.pruner.name": "search.pruner",
        "nothing.here": None,
    }
    faults = [FieldFault(field=path, value=None, message=path, legal="") for path in paths]
    form = form_of(demo, catalogue, faults)
    placed = {
        fault.field: field.path
        for section in form.sections
        for field in section.fields
        for fault in field.faults
    }
    del paths["arms.1.technique"], paths["nothing.here"]
    assert placed == paths
    assert {fault.field for fault in form.faults} == {"arms.1.technique", "nothing.here"}


@pytest.mark.parametrize(
    "broken",
    [{}, {"arms": "x"}, {"arms": [3, None]}, {"space": [1]}, {"search": 7, "options": None}],
)
def test_any_plain_values_have_a_form(broken: dict[str, Any], catalogue: Catalogue) -> None:
    shown = texts(form_of(broken, catalogue))
    assert edited(broken, catalogue, shown) == broken
    assert edited(broken, catalogue, shown | {"search.epochs": "3"})["search"] == {"epochs": 3}
