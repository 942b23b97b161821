"""Trials a second on one to eight nodes of a Ray cluster on this machine.

Each node has one core. A trial waits in place of training, since all nodes share the cores of this
machine: what is measured is whether one dispatcher keeps them busy.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ray.cluster_utils import Cluster

from benchmarks.bench_service import WORKLOAD, complete, installed, seconds_between, service, spec
from benchmarks.crew import variables
from benchmarks.harness import Figure, report

N_NODES = (1, 2, 4, 8)
TRIALS_A_NODE = 30
WAIT_SECONDS = 1.0
WAITING = WORKLOAD.replace(
    "    trial.report(", f"    time.sleep({WAIT_SECONDS})\n    trial.report("
).replace("import torch", "import time\n\nimport torch")


def main() -> bool:
    return report("bench_nodes", figures())


def figures() -> Iterator[Figure]:
    one = 0.0
    for n in N_NODES:
        rate = trials_a_second(n)
        one = one or rate
        yield Figure(name=f"{n} nodes: trials a second", unit="1/s", values=[rate])
        yield Figure(name="  against one node, a node", unit="x", values=[rate / one / n])


def trials_a_second(n_nodes: int) -> float:
    """Return the rate of a study from its first trial's start to the verdict."""
    n_trials = TRIALS_A_NODE * n_nodes
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        imports = installed(Path(folder), WAITING)
        settings = {"GRADNOISE_SLOTS": "1", **imports}
        with (
            variables(imports),
            cluster(n_nodes) as address,
            service(Path(folder), settings | {"GRADNOISE_RAY_ADDRESS": address}) as (client, _),
        ):
            study = complete(client, spec(f"{n_nodes} nodes", n_trials, "random"))
            trials = client.get(f"/v1/studies/{study['id']}/trials?limit=500").json()["items"]
    first = min(trial["started_at"] for trial in trials)
    return n_trials / seconds_between({**study, "first": first}, "first", "finished_at")


@contextmanager
def cluster(n_nodes: int) -> Iterator[str]:
    """Run a cluster of a head that trains nothing and nodes of one core; yield its address."""
    with variables({"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}):
        head = {"num_cpus": 0, "num_gpus": 0, "include_dashboard": False}
        nodes = Cluster(initialize_head=True, head_node_args=head)
        try:
            for _ in range(n_nodes):
                nodes.add_node(num_cpus=1, num_gpus=0)
            yield nodes.address
        finally:
            nodes.shutdown()


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
