"""The announced document is read into values."""

from collections.abc import Mapping

import pytest

from gradnoise_service.domain.catalogue import Catalogue, ParameterRange
from gradnoise_service.domain.errors import InvalidSpecError
from gradnoise_service.domain.phrases import range_in_words
from gradnoise_service.domain.space import Value


def test_techniques_have_formula_source_and_requirements(
    catalogue_document: Mapping[str, object],
) -> None:
    entry = Catalogue.of(catalogue_document).techniques["annealed"]
    assert (entry.formula, entry.source, entry.required) == (
        "sigma_t^2 = eta / (1 + t)^gamma",
        "arXiv:1511.06807",
        ("eta", "gamma"),
    )


def test_parameters_have_ranges_words_and_rules(
    catalogue_document: Mapping[str, object],
) -> None:
    sgd = Catalogue.of(catalogue_document).optimizers["sgd"]
    by_name = {parameter.name: parameter for parameter in sgd.parameters}
    assert (by_name["lr"].low, by_name["lr"].low_open) == (0.0, True)
    assert by_name["momentum"].high == 0.999
    assert by_name["lr_schedule"].choices == ("constant", "step")
    assert [(rule.kind, rule.field) for rule in sgd.rules] == [
        ("needs", "lr_every_epochs"),
        ("above", "momentum"),
    ]


def test_options_have_defaults_and_rules(catalogue_document: Mapping[str, object]) -> None:
    mlp = Catalogue.of(catalogue_document).workloads["mlp"]
    assert mlp.all_options({"depth": 3}) == {"dataset": "digits", "depth": 3}
    assert [(rule.kind, rule.field, rule.bound) for rule in mlp.option_rules] == [
        ("at_most", "depth", 50)
    ]


@pytest.mark.parametrize(
    ("value", "is_legal"),
    [(True, True), (None, True), (2, True), (2.0, True), (1, False), (False, False), ("2", False)],
)
def test_choices_are_legal_values_of_any_type(value: Value, is_legal: bool) -> None:
    augment = ParameterRange(name="augment", description="", choices=(True, None, "mixup", 2))
    assert augment.admits(value) == is_legal
    assert range_in_words(augment) == "one of true, null, mixup, 2"


@pytest.mark.parametrize("value", [True, None, "1"])
def test_a_range_of_numbers_admits_numbers_alone(value: Value) -> None:
    assert not ParameterRange(name="lr", description="").admits(value)


def test_what_a_source_declares_is_added_and_may_not_clash(
    catalogue_document: Mapping[str, object],
) -> None:
    installed = Catalogue.of(catalogue_document)
    [mlp] = catalogue_document["workloads"]  # type: ignore[misc]  # a list of one
    own = {"workloads": [{**mlp, "name": "own"}], "techniques": [], "optimizers": []}
    merged = installed.including(own)
    assert set(merged.workloads) == {"mlp", "own"}
    assert merged.techniques == installed.techniques
    assert merged.protocol == installed.protocol
    with pytest.raises(InvalidSpecError, match="declares the workload 'mlp', and one of this name"):
        installed.including({**own, "workloads": [mlp]})
