"""`gradnoise workloads` lists what the workers announced."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from typer.testing import Result

from cli_output import rows
from gradnoise_service.store import catalogues
from gradnoise_service.store.database import Database


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


def test_a_broken_package_has_its_error_in_workloads_and_doctor(
    gradnoise: Callable[..., Result], live_database: Database, catalogue_document: dict[str, Any]
) -> None:
    error = "ImportError: no module"
    broken = {"kind": "workload", "name": "mine", "value": "a:b", "package": "pack 1"}
    document = {**catalogue_document, "broken": [broken | {"error": error}]}
    with live_database.session(write=True) as session:
        catalogues.publish(session, document, datetime.now(UTC))
    assert ["broken", "workload mine", "a:b of pack 1", error] in rows(gradnoise("workloads"))
    finding = ["warn", "packages", f"workload mine = a:b of pack 1: {error}"]
    assert finding in [row[:3] for row in rows(gradnoise("doctor"))]
