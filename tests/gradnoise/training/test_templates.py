"""Trials opened from a template start as with a model of their own, or have one."""

import dataclasses
from typing import Any

import pytest
import torch

import probe_workloads
from gradnoise.training import templates
from gradnoise.training.setup import Setup, prepare
from gradnoise.training.stacked_run import StackedRun
from gradnoise.training.templates import StackedRuns
from gradnoise.workloads import normal
from trial_runs import spec

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _probes(probes: None) -> None:
    """Every test here uses the probe workloads."""


@pytest.fixture
def n_built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The seeds of the trials for which a model was built."""
    built: list[str] = []

    class Start(templates.Start):
        @classmethod
        def of(cls, setup: Setup, *others: Any) -> Any:
            built.append(setup.spec.key)
            return super().of(setup, *others)

    monkeypatch.setattr("gradnoise.training.stacked_run.Start", Start)
    return built


def assert_opened_alike(some: list[dict[str, Any]]) -> None:
    runs = StackedRuns(CPU)
    for i, changes in enumerate(some):
        setup = prepare(spec(f"{i}", seed=i, **changes))
        run = runs.open(setup, setup.workload)  # type: ignore[arg-type]
        fresh = dataclasses.replace(setup, spec=dataclasses.replace(setup.spec, key="built"))
        alone = StackedRun(fresh, setup.workload, CPU)  # type: ignore[arg-type]
        assert run.form == alone.form
        assert (run.shapes, run.dropped) == (alone.shapes, alone.dropped)
        assert torch.equal(run.weights, alone.weights)
        assert run.buffers.keys() == alone.buffers.keys()
        for name, buffer in run.buffers.items():
            assert torch.equal(buffer, alone.buffers[name])
        for kept, other in zip(run.kept, alone.kept, strict=True):
            assert all(torch.equal(kept[name], other[name]) for name in other)


def opened_with_models(built: list[str]) -> list[str]:
    return [key for key in built if key != "built"]


@pytest.mark.parametrize("workload", ["exact", "normed"])
@pytest.mark.parametrize(
    ("technique", "params"),
    [("none", {}), ("dropout", {"rate": 0.3}), ("ema", {"ema_decay": 0.9})],
)
def test_after_two_trials_of_a_form_no_model_is_built(
    workload: str, technique: str, params: dict[str, float], n_built: list[str]
) -> None:
    changes = {"workload": workload, "technique": technique, "params": {"lr": 0.1} | params}
    other = changes | {"params": {"lr": 0.2} | dict.fromkeys(params, 0.5)}
    assert_opened_alike([changes, changes, other, changes])
    assert opened_with_models(n_built) == ["0", "1"]


def test_a_model_whose_construction_draws_a_buffer_is_built_for_each_trial(
    n_built: list[str],
) -> None:
    assert_opened_alike([{"workload": "drawn"}] * 4)
    assert opened_with_models(n_built) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("initialise", ["adds", "draws"])
def test_weights_that_depend_on_more_than_the_seed_are_not_set_in_a_template(
    initialise: str, n_built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that are added to what the model had before, and draws of the global generator, whose
    state the template leaves unchanged.
    """

    @torch.no_grad()
    def adds(_workload: object, model: torch.nn.Module, seed: int) -> None:
        for name, parameter in model.named_parameters():
            parameter.add_(normal(seed, "init", 0, name, parameter.shape))

    @torch.no_grad()
    def draws(_workload: object, model: torch.nn.Module, _seed: int) -> None:
        for parameter in model.parameters():
            parameter.normal_()

    def zeros(_workload: object) -> torch.nn.Module:
        model = torch.nn.Linear(5, 1).double()
        for parameter in model.parameters():
            torch.nn.init.zeros_(parameter)
        return model

    monkeypatch.setattr(
        probe_workloads.exact, "initialise", {"adds": adds, "draws": draws}[initialise]
    )
    monkeypatch.setattr(probe_workloads.exact, "model", zeros)
    before = torch.get_rng_state()
    assert_opened_alike([{"workload": "exact"}] * 3)
    assert opened_with_models(n_built) == ["0", "1", "2"]
    assert torch.equal(torch.get_rng_state(), before)
