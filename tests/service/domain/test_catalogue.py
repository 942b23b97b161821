"""The announced document is read into values."""

from collections.abc import Mapping

from gradnoise_service.domain.catalogue import Catalogue


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
