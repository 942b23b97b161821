"""GPUs that torch cannot use, that two nodes offer or that were lost twice are not counted."""

from typing import Any

import pytest

from gradnoise_service.domain.devices import Devices
from gradnoise_workers import cluster as cluster_module
from gradnoise_workers.cluster import Cluster, Location


def node(name: str, n_gpus: int, n_cores: int) -> dict[str, Any]:
    """Return what `ray.nodes` does for a node."""
    return {
        "NodeID": name,
        "NodeManagerHostname": f"host-{name}",
        "NodeManagerAddress": "10.0.0.1",
        "Resources": {"GPU": float(n_gpus), "CPU": float(n_cores), "memory": 1e9},
    }


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The nodes that are alive."""
    alive = [node("a", 2, 8), node("b", 1, 0)]
    monkeypatch.setattr(cluster_module, "_alive", lambda: alive)
    return alive


def gpu(of_node: str, number: int, uuid: str = "", fault: str = "") -> Location:
    return Location(node=of_node, gpu=str(number), device="H200", uuid=uuid, fault=fault)


def test_a_gpu_that_torch_cannot_use_is_refused_until_its_node_leaves(
    nodes: list[dict[str, Any]],
) -> None:
    cluster = Cluster()
    assert cluster.devices() == Devices(n_gpus=3, n_cores=8)
    fault = "torch 2.13.0+cpu is built without CUDA"
    assert not cluster.admits(gpu("a", 1, fault=fault))
    assert not cluster.admits(gpu("a", 0, fault=fault))
    assert cluster.admits(gpu("b", 0, "GPU-1"))
    sentence = f"Node host-a (10.0.0.1) offers GPU 0, 1 to Ray, but it is not used: {fault}."
    assert cluster.devices() == Devices(n_gpus=1, n_cores=8, faults=(sentence,))
    nodes[0] = node("c", 2, 8)  # a node that joins again has a new id
    assert cluster.devices() == Devices(n_gpus=3, n_cores=8)


def test_a_gpu_that_two_nodes_offer_is_used_once(nodes: list[dict[str, Any]]) -> None:
    """The second node is admitted once the first has left."""
    cluster = Cluster()
    assert cluster.admits(gpu("a", 0, "GPU-1"))
    assert cluster.admits(gpu("a", 1, "GPU-2"))
    assert cluster.admits(gpu("a", 0, "GPU-1"))  # another study's actor there
    assert cluster.admits(gpu("a", 2, "GPU-1"))  # another part of the GPU
    assert not cluster.admits(gpu("b", 0, "GPU-2"))
    (sentence,) = cluster.faults()
    assert sentence.endswith("another Ray node offers it too (H200, GPU-2).")
    nodes[:] = [node("c", 1, 0)]
    assert cluster.admits(gpu("c", 0, "GPU-2"))


def test_a_gpu_that_was_lost_twice_is_not_used_again(nodes: list[dict[str, Any]]) -> None:
    cluster = Cluster()
    fault = "CUDA error: unspecified launch failure"
    cluster.lose(gpu("a", 1), fault)
    assert cluster.devices().n_gpus == 3
    cluster.lose(gpu("a", 1), fault)
    assert cluster.devices().n_gpus == 2
    assert not cluster.admits(gpu("a", 1, "GPU-2"))  # the actor of another study lands on it
    assert cluster.admits(gpu("a", 0, "GPU-1"))
    (sentence,) = cluster.faults()
    assert sentence.endswith(f"GPU 1 to Ray, but it is not used: {fault}, 2 times.")


def test_the_cores_of_a_node_that_is_set_aside_are_not_counted(
    nodes: list[dict[str, Any]],
) -> None:
    cluster = Cluster()
    cluster.set_aside(("a", ""), "3 trials in a row failed there, but elsewhere 0 of 10")
    cluster.set_aside(("a", "1"), "it fails")
    devices = cluster.devices()
    assert (devices.n_gpus, devices.n_cores) == (2, 0)
    assert devices.faults == (
        "The cores of node host-a (10.0.0.1) are not used: 3 trials in a row failed there, but "
        "elsewhere 0 of 10.",
        "Node host-a (10.0.0.1) offers GPU 1 to Ray, but it is not used: it fails.",
    )
    assert cluster.has("a")
    assert not cluster.has("c")
