"""On a real Ray with declared GPUs: placement, shares, refusals, nodes that join, lost GPUs."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster as Nodes

import fake_gpus
from fake_gpus import FAULTS, FakeGpuActor
from gradnoise.training.trial import TrialSpec
from gradnoise_service.domain.devices import DeviceChoice, Devices
from gradnoise_workers import remote
from gradnoise_workers.cluster import Cluster
from gradnoise_workers.launcher import LauncherEvent, NoDeviceError, WorkerLost
from gradnoise_workers.remote import RayLauncher, Worker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """A Ray cluster of a head that trains nothing and a node with a core and two GPUs."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.setenv("OMP_NUM_THREADS", "1")
        environment.setattr(remote, "START_SECONDS", 300.0)
        environment.setenv(FAULTS, str(tmp_path_factory.mktemp("faults")))
        head = {"num_cpus": 0, "num_gpus": 0, "include_dashboard": False}
        nodes = Nodes(initialize_head=True, head_node_args=head)
        nodes.add_node(num_cpus=1, num_gpus=2)
        ray.init(address=nodes.address, log_to_driver=False)
        ray.cloudpickle.register_pickle_by_value(fake_gpus)  # the actors cannot import it
        yield nodes
        ray.shutdown()
        nodes.shutdown()


def no_interrupt() -> None:
    """Return without an interrupt."""


def opened(cluster: Cluster, devices: DeviceChoice, n_studies: int = 1) -> RayLauncher:
    launcher = RayLauncher(cluster, devices, n_studies=n_studies, actor=FakeGpuActor)
    launcher.start(no_interrupt)
    return launcher


def gpus(launcher: RayLauncher) -> list[str]:
    """Return the GPUs with actors; an actor on a core has none."""
    return sorted(worker.location.gpu for worker in launcher.workers if worker.location)


def until(
    launcher: RayLauncher, condition: Callable[[Sequence[LauncherEvent]], bool]
) -> list[LauncherEvent]:
    events: list[LauncherEvent] = []
    while not condition(events):
        events += launcher.events(0.2)
    return events


def visible(worker: Worker) -> str:
    call: Any = worker.actor.__ray_call__
    return str(ray.get(call.remote(lambda _actor: os.environ["CUDA_VISIBLE_DEVICES"])))


def test_gpus_that_torch_cannot_use_are_refused_and_cores_see_none(nodes: Nodes) -> None:
    """Ray counts two; torch here has no CUDA, or no GPU."""
    cluster = Cluster()
    sentence = r"have no GPU that it can use\. Node .* offers GPU 0, 1"
    with (
        closing(RayLauncher(cluster, "gpu")) as launcher,
        pytest.raises(NoDeviceError, match=sentence),
    ):
        launcher.start(no_interrupt)
    (fault,) = cluster.faults()
    assert cluster.devices() == Devices(n_gpus=0, n_cores=1, faults=(fault,))
    with closing(RayLauncher(cluster)) as launcher:
        assert launcher.start(no_interrupt).startswith("1 x core of ")
        assert (launcher.devices, launcher.device_faults) == ("cpu", (fault,))
        assert visible(launcher.workers[0]) == ""
    with pytest.raises(NoDeviceError):
        RayLauncher(cluster, "gpu")


def test_two_studies_share_each_gpu_and_need_no_core(nodes: Nodes) -> None:
    """Ray fills a GPU before it takes the next; a node may have fewer cores than GPUs."""
    with ExitStack() as stack:
        for choice in ("auto", "gpu"):
            launcher = stack.enter_context(closing(opened(Cluster(), choice, n_studies=2)))
            assert gpus(launcher) == ["0", "1"]
            assert launcher.devices == "gpu"
            launcher.events(0.0)


def test_a_study_on_all_devices_stacks_on_gpus_and_trains_one_trial_a_core(nodes: Nodes) -> None:
    with closing(opened(Cluster(), "all")) as launcher:
        assert gpus(launcher) == ["", "0", "1"]
        launcher.open(4)
        assert launcher.n_free() == 2 * 4 + 1
        assert max(launcher.candidates()) > 64


def trial(key: str) -> TrialSpec:
    """Return a trial that fails in any actor."""
    return TrialSpec(
        key=key,
        workload="nothing",
        options={},
        techniques=("none",),
        params={"lr": 0.1},
        seed=1,
        budget_epochs=1,
    )


def test_a_lost_gpu_costs_its_attempts_and_is_not_used_again(nodes: Nodes) -> None:
    cluster = Cluster()
    fault = Path(os.environ[FAULTS]) / "1"
    with closing(opened(cluster, "gpu")) as launcher:
        launcher.open(1)
        fault.write_text("CUDA error: no CUDA-capable device is detected", encoding="utf-8")
        for key in ("a", "b"):
            launcher.admit(trial(key))
        (on_lost,) = (
            key
            for worker in launcher.workers
            for key in worker.keys
            if worker.location is not None and worker.location.gpu == "1"
        )
        events = until(launcher, lambda events: len(events) == 2)
        (lost,) = (event for event in events if isinstance(event, WorkerLost))
        assert lost.key == on_lost
        assert lost.reason == "the worker died: CUDA error: no CUDA-capable device is detected"
        until(launcher, lambda _: cluster.devices().n_gpus == 1)
        assert gpus(launcher) == ["0"]
        assert launcher.n_free() == 1
    fault.unlink()


def test_a_gpu_where_trial_after_trial_fails_is_set_aside(nodes: Nodes) -> None:
    """Elsewhere a hundred trials finished; the next trial goes where fewer failed in a row."""
    cluster = Cluster()
    for _ in range(100):
        cluster.health.add(("elsewhere", ""), failed=False)
    with closing(opened(cluster, "gpu")) as launcher:
        launcher.open(1)
        for n in range(1, 6):
            launcher.admit(trial(f"{n}"))
            until(launcher, lambda events: bool(events))
            failures = [
                cluster.health.failures_in_a_row(worker.place) for worker in launcher.workers
            ]
            assert max(failures) - min(failures) <= 1
        assert len(gpus(launcher)) == 1
        (fault,) = launcher.device_faults
        assert "it is not used: 3 trials in a row failed there, but elsewhere 2 of 102." in fault
        assert cluster.devices().n_gpus == 1


def test_nodes_join_and_leave(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trials of a node that leaves are lost; without a device the study waits."""
    monkeypatch.setattr(remote, "GROW_SECONDS", 0.5)
    cluster = Cluster()
    (first,) = (worker for worker in nodes.worker_nodes)
    with closing(opened(cluster, "gpu")) as launcher:
        launcher.open(1)
        second = nodes.add_node(num_cpus=0, num_gpus=1)
        until(launcher, lambda _: launcher.n_free() == 3)
        nodes.remove_node(first, allow_graceful=False)
        until(launcher, lambda _: launcher.n_free() == 1)
        nodes.remove_node(second, allow_graceful=False)
        with pytest.raises(NoDeviceError, match=r"^The study waits: the workers have no GPU"):
            until(launcher, lambda _: False)
