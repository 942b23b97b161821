"""`gradnoise workloads` lists what the workers announced."""

from collections.abc import Callable

from typer.testing import Result

from cli_output import rows


def test_options_and_parameters_have_their_legal_values(gradnoise: Callable[..., Result]) -> None:
    listed = rows(gradnoise("workloads"))
    dataset = "one of digits, mnist (default digits)"
    assert ["option", "dataset", dataset, "The images."] in listed
    assert ["rule", "depth", "must be at most 50 with dataset=digits", "-"] in listed
    technique = listed.index(["technique", "annealed", "-", "Annealed gradient noise."])
    formula = "sigma_t^2 = eta / (1 + t)^gamma"
    assert listed[technique + 1] == ["formula", "formula", formula, "arXiv:1511.06807"]
    assert listed[technique + 2][:3] == ["parameter", "eta", "a number in [0, inf)"]
    assert ["parameter", "lr", "a number in (0, inf)", "Learning rate."] in listed
    words = "one of constant, step"
    assert ["parameter", "lr_schedule", words, "How the rate changes."] in listed
    epochs = "Epochs from one rate to the next."
    whole = "a whole number in [1, inf)"
    assert ["parameter", "lr_every_epochs", whole, epochs] in listed
    demand = "must be given with lr_schedule=step"
    assert ["rule", "lr_every_epochs", demand, "-"] in listed
