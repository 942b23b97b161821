"""The update as a CUDA graph holds it, its number on the device; on a CPU through Triton's
interpreter, where that is chosen.
"""

import os
from typing import Any

import pytest
import torch

from gradnoise._noise import backends
from gradnoise.training.setup import prepare
from gradnoise.training.stacked_model import StackedEpoch, StackedModel
from gradnoise.training.stacked_run import StackedRun
from gradnoise.training.trial import TrialSpec
from gradnoise.workloads import Workload

HAS_KERNEL = bool(os.environ.get("TRITON_INTERPRET")) or torch.cuda.is_available()
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TECHNIQUES = {
    "annealed": {"eta": 0.3, "gamma": 0.55},
    "weight_noise": {"eta": 0.01, "gamma": 0.55},
    "dropout": {"rate": 0.3},
}


def runs(
    technique: str, params: dict[str, Any] | None = None, workload: str = "exact"
) -> list[StackedRun]:
    """Two with the technique, the second of them clipped, and one without between them."""
    opened = []
    for seed, name, own in (
        (1, technique, params or {}),
        (2, "none", {}),
        (3, technique, params or {}),
    ):
        own = {"lr": 0.05} | own | ({"clip_norm": 1.0, "clip_value": 0.1} if seed == 3 else {})
        setup = prepare(
            TrialSpec(
                key="a",
                workload=workload,
                technique=name,
                optimizer="adam",
                params=own,
                seed=seed,
                budget_epochs=2,
            )
        )
        assert isinstance(setup.workload, Workload)
        opened.append(StackedRun(setup, setup.workload, DEVICE))
    return opened


def trained(epoch: StackedEpoch, *, by_counter: bool) -> torch.Tensor:
    model = StackedModel(epoch)
    model._load(epoch)
    for i in range(epoch.n_steps):
        model._step(model._i if by_counter else i)
    return torch.cat([model._weights, model._losses], dim=1)


@pytest.mark.usefixtures("probes")
def test_an_update_that_finds_its_number_on_the_device_is_the_same() -> None:
    assert torch.equal(
        *(
            trained(StackedEpoch(runs("none"), 3), by_counter=by_counter)
            for by_counter in (False, True)
        )
    )


@pytest.mark.usefixtures("probes")
def test_a_loss_of_a_wider_type_than_the_weights_is_kept_in_theirs() -> None:
    epoch = StackedEpoch(runs("none", workload="narrow"), 3)
    model = StackedModel(epoch)
    model._load(epoch)
    gradient = model._gradient
    model._gradient = lambda *given: gradient(*given).double()
    for _ in range(epoch.n_steps):
        model._step(model._i)
    assert torch.equal(
        torch.cat([model._weights, model._losses], dim=1),
        trained(StackedEpoch(runs("none", workload="narrow"), 3), by_counter=True),
    )


@pytest.mark.usefixtures("probes")
@pytest.mark.skipif(not HAS_KERNEL, reason="neither a GPU nor TRITON_INTERPRET=1")
@pytest.mark.parametrize("technique", TECHNIQUES)
def test_its_noise_is_the_same_to_rounding(technique: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways in float32; the kernel's noise is within 4e-6 of the other's, and Adam's rate of
    0.05 over three updates.
    """
    expected = trained(
        StackedEpoch(runs(technique, TECHNIQUES[technique], "narrow"), 4), by_counter=False
    )
    if DEVICE.type == "cpu":
        monkeypatch.setattr(backends, "is_on_gpu", lambda rows: True)
        monkeypatch.setattr(backends, "compiled", lambda: None)
    found = trained(
        StackedEpoch(runs(technique, TECHNIQUES[technique], "narrow"), 4), by_counter=True
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("probes")
def test_rows_beyond_the_members_change_nothing() -> None:
    """As a GPU pads a piece to a size whose graph is captured."""
    params = TECHNIQUES["annealed"]
    exact, padded = (StackedEpoch(runs("annealed", params), n_rows) for n_rows in (3, 8))
    assert StackedModel(padded).train(padded) == StackedModel(exact).train(exact)
    assert [run.t for run in padded.members] == [3, 3, 3]
    for one, other in zip(exact.members, padded.members, strict=True):
        assert torch.equal(one.weights, other.weights)


@pytest.mark.usefixtures("probes")
def test_epochs_of_one_kind_use_the_same_buffers_for_other_members() -> None:
    """What a model has trained before leaves no trace."""
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
def test_a_graph_replays_what_eager_updates_do(technique: str) -> None:
    params = TECHNIQUES.get(technique, {})
    graphed, eager = (StackedEpoch(runs(technique, params), 4) for _ in range(2))
    model, plain = StackedModel(graphed), StackedModel(eager)
    plain._is_capturable = False
    for _ in range(2):
        found, expected = (
            model.train(StackedEpoch(graphed.members, 4)),
            plain.train(StackedEpoch(eager.members, 4)),
        )
        for one, other in zip(found, expected, strict=True):
            assert one == pytest.approx(other, rel=1e-6)
