"""Cluster: the devices that Ray counts, without the GPUs that torch cannot use."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
import structlog

from gradnoise_service.domain.devices import DeviceChoice, Devices
from gradnoise_workers.health import Health, Slot

log = structlog.get_logger()

MAX_LOSSES = 2


@dataclass(frozen=True, kw_only=True)
class Location:
    """Where an actor runs, as Ray and torch report it.

    Args:
        node: Id of its Ray node.
        gpu: Number of its GPU there; empty for a core.
        device: Name of the GPU or the core.
        uuid: The GPU's identifier; empty for a core.
        free_bytes: Free memory of the GPU.
        fault: Why torch cannot use the GPU; empty if it can.
    """

    node: str
    gpu: str = ""
    device: str = ""
    uuid: str = ""
    free_bytes: int = 0
    fault: str = ""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A Ray node that is alive, with the GPUs that are not refused."""

    id: str
    n_gpus: int
    n_cores: int


class Cluster:
    """The nodes of the Ray cluster; one object for all launchers of a process.

    A GPU that torch cannot use is refused until its node joins again. So is one that another node
    offers too, and one that was lost twice; so are a GPU, and the cores of a node, where trial
    after trial fails that would not elsewhere.

    Attributes:
        health: How trials end at each GPU and on the cores of each node.
    """

    def __init__(self) -> None:
        self.health = Health()
        self._refused: dict[Slot, str] = {}
        self._losses: Counter[Slot] = Counter()
        self._node_of_uuid: dict[str, str] = {}

    def nodes(self) -> list[Node]:
        """Return the nodes that are alive."""
        return [self._node(node["NodeID"], node["Resources"]) for node in _alive()]

    def has(self, node: str) -> bool:
        """Return whether a node is alive."""
        return any(other["NodeID"] == node for other in _alive())

    def devices(self) -> Devices:
        """Return the numbers of devices, and why some GPUs are refused."""
        nodes = self.nodes()
        return Devices(
            n_gpus=sum(node.n_gpus for node in nodes),
            n_cores=sum(node.n_cores for node in nodes),
            faults=self.faults(),
        )

    def places(self, choice: DeviceChoice) -> dict[tuple[str, bool], int]:
        """Return how many actors of a study each node is to have on its GPUs and on its cores.

        Args:
            choice: The devices of the study.

        Returns:
            The numbers of actors by the node's id and whether they are on GPUs.
        """
        nodes = self.nodes()
        if choice == "auto":
            choice = "gpu" if any(node.n_gpus > 0 for node in nodes) else "cpu"
        on_gpus = {(node.id, True): node.n_gpus for node in nodes if choice != "cpu"}
        return on_gpus | {(node.id, False): node.n_cores for node in nodes if choice != "gpu"}

    def faults(self) -> tuple[str, ...]:
        """Return why devices are not used, a sentence for each node and reason."""
        found = []
        for node in _alive() if self._refused else ():
            gpus: dict[str, list[str]] = {}
            for (_, gpu), reason in sorted(self._refused_on(node["NodeID"]).items()):
                gpus.setdefault(reason, []).append(gpu)
            name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            found += [
                f"The cores of node {name} are not used: {reason}."
                if numbers == [""]
                else f"Node {name} offers GPU {', '.join(numbers)} to Ray, but it is not used: "
                f"{reason}."
                for reason, numbers in gpus.items()
            ]
        return tuple(found)

    def admits(self, location: Location) -> bool:
        """Return whether an actor may train on its GPU; refuse the GPU if not."""
        known = self._refused.get((location.node, location.gpu), "")
        reason = known or location.fault or self._duplicate(location)
        if reason:
            self._refuse(location, reason)
        return not reason

    def lose(self, location: Location, reason: str) -> None:
        """Count the loss of a GPU; refuse it at the second."""
        slot = (location.node, location.gpu)
        self._losses[slot] += 1
        if self._losses[slot] >= MAX_LOSSES:
            self._refuse(location, f"{reason}, {self._losses[slot]} times")

    def set_aside(self, place: Slot, reason: str) -> None:
        """Use a GPU, or the cores of a node, no more."""
        if place not in self._refused:
            self._refused[place] = reason
            log.error("a worker is set aside", node=place[0], gpu=place[1], reason=reason)

    def _node(self, id: str, resources: Mapping[str, float]) -> Node:
        refused = self._refused_on(id)
        n_cores = 0 if (id, "") in refused else int(resources.get("CPU", 0))
        n_gpus = int(resources.get("GPU", 0)) - sum(gpu != "" for _, gpu in refused)
        return Node(id=id, n_gpus=n_gpus, n_cores=n_cores)

    def _duplicate(self, location: Location) -> str:
        # the parts of a GPU on a node may have the UUID of the whole
        first = self._node_of_uuid.get(location.uuid, location.node)
        if first != location.node and any(node["NodeID"] == first for node in _alive()):
            return f"another Ray node offers it too ({location.device}, {location.uuid})"
        if location.uuid:
            self._node_of_uuid[location.uuid] = location.node
        return ""

    def _refuse(self, location: Location, reason: str) -> None:
        slot = (location.node, location.gpu)
        if slot not in self._refused:
            self._refused[slot] = reason
            log.error("a GPU is refused", node=location.node, gpu=location.gpu, reason=reason)

    def _refused_on(self, node: str) -> Mapping[Slot, str]:
        return {slot: reason for slot, reason in list(self._refused.items()) if slot[0] == node}


def _alive() -> Sequence[Mapping[str, Any]]:
    nodes: Sequence[Mapping[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"]]
