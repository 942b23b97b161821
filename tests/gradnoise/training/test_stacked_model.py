"""The update in the form that a CUDA graph holds, with its number on the device; on a CPU in
Triton's interpreter, if that is selected.
"""

import os
from typing import Any

import pytest
import torch

from gradnoise._kernels import backends
from gradnoise.training.setup import prepare
from gradnoise.training.stacked_epoch import StackedEpoch
from gradnoise.training.stacked_model import StackedModel
from gradnoise.training.stacked_run import StackedRun
from gradnoise.training.trial import TrialSpec
from gradnoise.workloads import Workload

HAS_KERNEL = bool(os.environ.get("TRITON_INTERPRET")) or torch.cuda.is_available()
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TECHNIQUES = {
    "annealed": {"eta": 0.3, "gamma": 0.55},
    "preconditioned": {"eta": 0.001, "gamma": 0.55, "damping": 0.01},
    "weight_noise": {"eta": 0.01, "gamma": 0.55},
    "dropout": {"rate": 0.3},
}


def runs(
    technique: str, params: dict[str, Any] | None = None, workload: str = "exact"
) -> list[StackedRun]:
    """Open two runs with the technique, the second of them clipped, and one without in between."""
    clips = {"clip_norm": 1.0, "clip_value": 0.1}
    return [
        opened(1, technique, params or {}, workload),
        opened(2, "none", {}, workload),
        opened(3, technique, (params or {}) | clips, workload),
    ]


def opened(seed: int, technique: str, params: dict[str, Any], workload: str) -> StackedRun:
    setup = prepare(
        TrialSpec(
            key="a",
            workload=workload,
            techniques=(technique,),
            optimizer="adam",
            params={"lr": 0.05} | params,
            seed=seed,
            budget_epochs=2,
        )
    )
    assert isinstance(setup.workload, Workload)
    return StackedRun(setup, setup.workload, DEVICE)


def trained(epoch: StackedEpoch, *, by_counter: bool) -> torch.Tensor:
    """Return weights and losses after the updates of an epoch, made operation by operation."""
    model = StackedModel(epoch, may_capture=False)
    model.start(epoch)
    for i in range(epoch.n_steps):
        model.step(model.counter if by_counter else i)
    return torch.cat([model.weights, model.losses], dim=1)[: len(epoch.members)]


@pytest.mark.usefixtures("probes")
def test_an_update_whose_number_is_on_the_device_is_the_same() -> None:
    by_number, by_counter = (
        trained(StackedEpoch(runs("none"), 3), by_counter=by_counter)
        for by_counter in (False, True)
    )
    assert torch.equal(by_number, by_counter)


@pytest.mark.usefixtures("probes")
@pytest.mark.parametrize("by_counter", [False, True])
def test_losses_of_a_wider_type_than_the_weights_are_stored_in_that_of_the_weights(
    by_counter: bool,
) -> None:
    wide, narrow = (
        trained(StackedEpoch(runs("none", workload=workload), 3), by_counter=by_counter)
        for workload in ("wide_loss", "narrow")
    )
    assert torch.equal(wide, narrow)


@pytest.mark.usefixtures("probes")
@pytest.mark.skipif(not HAS_KERNEL, reason="neither a GPU nor TRITON_INTERPRET=1")
@pytest.mark.parametrize("technique", TECHNIQUES)
def test_its_noise_is_the_same_up_to_rounding(
    technique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32 the GPU kernel's noise is within 4e-6 of the other's, and Adam makes three updates
    at rate 0.05.
    """
    expected = trained(
        StackedEpoch(runs(technique, TECHNIQUES[technique], "narrow"), 4), by_counter=False
    )
    if DEVICE.type == "cpu":
        monkeypatch.setattr(backends, "is_on_gpu", lambda rows: True)
        monkeypatch.setattr(backends, "native", lambda: None)
    found = trained(
        StackedEpoch(runs(technique, TECHNIQUES[technique], "narrow"), 4), by_counter=True
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("probes")
@pytest.mark.skipif(not HAS_KERNEL, reason="neither a GPU nor TRITON_INTERPRET=1")
def test_mean_squares_on_a_gpu_are_those_of_the_members(monkeypatch: pytest.MonkeyPatch) -> None:
    """After two epochs, the second of them in another order of the members; the one in between has
    none.
    """

    def after_two_epochs() -> list[torch.Tensor]:
        members = runs("preconditioned", TECHNIQUES["preconditioned"], "narrow")
        for order in (members, members[::-1]):
            epoch = StackedEpoch(order, 4)
            StackedModel(epoch, may_capture=False).train(epoch)
        return [run.preconditioner_state for run in members]

    expected = after_two_epochs()
    if DEVICE.type == "cpu":
        monkeypatch.setattr(backends, "is_on_gpu", lambda rows: True)
    for found, other in zip(after_two_epochs(), expected, strict=True):
        torch.testing.assert_close(found, other, rtol=1e-3, atol=1e-6)
    assert [len(state) > 0 for state in expected] == [True, False, True]


@pytest.mark.usefixtures("probes")
def test_rows_beyond_the_members_change_nothing() -> None:
    """On a GPU a part of the members is padded to a size whose graph is captured."""
    params = TECHNIQUES["annealed"]
    exact, padded = (StackedEpoch(runs("annealed", params), n_rows) for n_rows in (3, 8))
    assert StackedModel(padded).train(padded) == StackedModel(exact).train(exact)
    assert [run.t for run in padded.members] == [3, 3, 3]
    for member, other in zip(exact.members, padded.members, strict=True):
        assert torch.equal(member.weights, other.weights)


@pytest.mark.usefixtures("probes")
def test_epochs_of_one_kind_use_the_same_buffers_for_other_members() -> None:
    """Earlier epochs of the model leave no trace."""
    first, second = (
        StackedEpoch(runs("annealed", TECHNIQUES["annealed"]), 3),
        StackedEpoch(runs("annealed", {"eta": 0.01, "gamma": 0.1})[::-1], 3),
    )
    again = StackedEpoch(runs("annealed", {"eta": 0.01, "gamma": 0.1})[::-1], 3)
    assert first.kind == second.kind
    model = StackedModel(first)
    model.train(first)
    assert model.train(second) == StackedModel(again).train(again)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.usefixtures("probes")
@pytest.mark.parametrize("technique", ["none", *TECHNIQUES])
def test_a_graph_gives_the_results_of_eager_updates(technique: str) -> None:
    """In float32, the type that the GPU kernel of the noise takes."""
    params = TECHNIQUES.get(technique, {})
    graphed, eager = (StackedEpoch(runs(technique, params, "narrow"), 4) for _ in range(2))
    model, plain = StackedModel(graphed), StackedModel(eager, may_capture=False)
    for _ in range(2):
        found, expected = (
            model.train(StackedEpoch(graphed.members, 4)),
            plain.train(StackedEpoch(eager.members, 4)),
        )
        for values, other in zip(found, expected, strict=True):
            assert values == pytest.approx(other, rel=1e-5)
        assert model.is_captured
        assert not plain.is_captured
