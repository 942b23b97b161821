"""`gradnoise workloads` lists what the workers announced."""

from collections.abc import Callable

from typer.testing import Result

from cli_output import rows


def test_options_and_parameters_have_their_legal_values(gradnoise: Callable[..., Result]) -> None:
    listed = rows(gradnoise("workloads"))
    assert ["option", "dataset", "digits | mnist = digits", "The images."] in listed
    technique = listed.index(["technique", "annealed", "-", "Annealed gradient noise."])
    assert listed[technique + 1][:3] == ["parameter", "eta", "[0, inf)"]
    assert ["parameter", "lr", "(0, inf)", "Learning rate."] in listed
    assert ["parameter", "lr_schedule", "constant | step", "How the rate changes."] in listed
    epochs = "Epochs from one rate to the next."
    assert ["parameter", "lr_every_epochs", "integer in [1, inf)", epochs] in listed
