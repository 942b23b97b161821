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


def test_parameters_have_ranges_words_and_needs(
    catalogue_document: Mapping[str, object],
) -> None:
    sgd = Catalogue.of(catalogue_document).optimizers["sgd"]
    by_name = {parameter.name: parameter for parameter in sgd.parameters}
    assert (by_name["lr"].low, by_name["lr"].low_open) == (0.0, True)
    assert by_name["momentum"].high == 0.999
    assert by_name["lr_schedule"].choices == ("constant", "step")
    assert by_name["lr_schedule"].needs == {"step": ("lr_every_epochs",)}
