"""The comparison of captured, eager and reference updates."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

import recorded_graphs
from benchmarks.first_gpu.phases import parity
from benchmarks.first_gpu.phases.parity import Comparison, Pair
from gradnoise.techniques.registry import TECHNIQUES
from gradnoise.training.stacked_model import StackedModel
from gradnoise.workloads.registry import OPTIMIZERS, WORKLOADS

OWN = {"dense", "convolutions"}


@pytest.fixture(autouse=True)
def _workloads(workloads: None) -> Iterator[None]:
    """Every test here uses the benchmarks' workloads."""
    return


def test_every_technique_workload_and_optimizer_is_compared() -> None:
    """`dense` is `mlp` where there are no images."""
    pairs = parity.pairs()
    assert parity.TECHNIQUE_PARAMS.keys() == set(TECHNIQUES.names())
    assert {pair.technique for pair in pairs} == set(TECHNIQUES.names())
    assert {pair.optimizer for pair in pairs} == set(OPTIMIZERS.names())
    declared = {
        name
        for name in WORKLOADS.names()
        if getattr(WORKLOADS.find(name), "__module__", "").startswith("gradnoise.")
    }
    assert {pair.workload for pair in pairs} - OWN == declared - {"mlp"}
    for pair in pairs:
        assert len(pair.setups()) == 2


def small(technique: str) -> Pair:
    return replace(parity.few_pairs()[0], technique=technique)


@pytest.mark.slow
def test_a_captured_pair_equals_the_eager_one_and_the_reference() -> None:
    with recorded_graphs.on_cpu():
        found = parity.compare(small("none"))
    assert found.graph == 0.0
    assert found.cpu is not None
    assert found.cpu < 1e-5
    assert not found.reason


def test_a_wrong_update_is_far_from_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the second half of the updates is left out."""
    update = StackedModel.update

    def half(model: StackedModel, i: int) -> None:
        if i < parity.N_UPDATES // 2:
            update(model, i)

    monkeypatch.setattr(StackedModel, "update", half)
    found = parity.compare(small("annealed"))
    assert found.graph is None
    assert found.cpu is not None
    assert found.cpu > 100 * parity.CPU_AT_MOST
    (figure,) = parity.figures(small("annealed"), found)
    assert not figure.holds


def test_an_optimizer_has_a_wider_bar() -> None:
    pair = Pair(workload="dense", technique="annealed", optimizer="lion")
    graph, cpu = parity.figures(pair, Comparison(graph=1e-4, cpu=0.01))
    assert (graph.holds, cpu.holds) == (False, True)
