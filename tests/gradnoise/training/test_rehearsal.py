import math
from pathlib import Path
from typing import Any

import pytest

import probe_functions
from gradnoise.training.rehearsal import rehearse
from trial_runs import spec

NOISE = {"techniques": ("constant",), "params": {"lr": 0.01, "std": 0.1}}
pytestmark = pytest.mark.usefixtures("probes")


def test_a_function_is_run_with_a_budget_of_one_report() -> None:
    found = rehearse(spec(workload="splitting", budget_epochs=50, rungs=(10,), **NOISE))
    assert (found.error, found.unread) == ("", ())
    assert found.noise_to_gradient is not None
    (made,) = found.optimizers
    assert (made["class"], made["settings"]["lr"]) == ("torch.optim.sgd.SGD", 0.01)
    changed = {"params": {"lr": 0.01, "std": 0.1, "momentum": 0.9}}
    assert rehearse(spec(workload="splitting", **(NOISE | changed))).unread == ("momentum",)


def test_the_error_of_a_function_is_found_with_its_traceback() -> None:
    found = rehearse(spec(workload="misbehaving", options={"how": "raises at the end"}))
    assert found.error.startswith("OSError: no end\n\nTraceback (most recent call last):\n")
    assert "probe_functions.py" in found.error


def test_a_function_whose_process_was_killed_is_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If that does not help, its trials show whether it works."""
    monkeypatch.setenv(probe_functions.ENDED, str(tmp_path / "ended"))
    for how, is_known in (("is killed once", True), ("is killed", False)):
        found = rehearse(spec(workload="misbehaving", options={"how": how}))
        assert (found.error, found.unread) == ("", ("lr",) if is_known else ())


def test_a_function_that_takes_long_is_stopped() -> None:
    found = rehearse(spec(workload="sleeping"), function_seconds=0.5)
    assert (found.error, found.noise_to_gradient, found.unread) == ("", None, ())


@pytest.mark.parametrize("std", [0.1, 0.3])
def test_the_ratio_of_noise_to_gradient_is_that_of_the_first_update(std: float) -> None:
    noisy: dict[str, Any] = {"techniques": ("constant",), "params": {"lr": 0.05, "std": std}}
    found = rehearse(spec(**noisy)).noise_to_gradient
    one = rehearse(spec(**(noisy | {"params": {"lr": 0.05, "std": 1.0}}))).noise_to_gradient
    assert found is not None
    assert one is not None
    assert math.isclose(found, std * one, rel_tol=1e-9)
