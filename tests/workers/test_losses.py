"""On a real Ray: trials that crash or hang are found out, and those beside them finish."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from gradnoise.training.checkpoint import Checkpoints
from gradnoise.training.trial import Finished, Measurement, TrialSpec
from gradnoise_service.domain.source import Source
from gradnoise_workers.cluster import Cluster
from gradnoise_workers.launcher import WorkerLost
from gradnoise_workers.remote import RayLauncher

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

HANG_SECONDS = 3.0
FUSE = '''
import ctypes
import os
import signal
from dataclasses import dataclass

import torch

from gradnoise.workloads import Metric, Splits, Workload, normal, option


class Fuse(torch.autograd.Function):
    """Ends the process if a number of any member of a stack is large."""

    @staticmethod
    def forward(x, how):
        if bool((x.abs() > 1e3).any()):
            os.write(2, b"blown\\n")
            if how == "segfaults":
                ctypes.string_at(0)
            if how == "hangs":
                signal.pause()
            if how == "exits":
                os._exit(3)
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None

    @staticmethod
    def vmap(info, in_dims, x, how):
        return Fuse.apply(x, how), in_dims[0]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How it ends."""

    how: str = option("segfaults", "How it ends.")


class fuse(Workload):
    """A line that is fitted to points."""

    name = "fuse"
    description = "A line that is fitted to points."
    metrics = (Metric(name="error", direction="minimize", worst=1e6),)
    batch_size = 8
    Options = Options

    def data(self):
        x = normal(0, "data", 0, "x", (24, 1))
        parts = [(part, 2 * part) for part in x.split(8)]
        return Splits(train=parts[0], validation=parts[1], test=parts[2])

    def model(self):
        return torch.nn.Linear(1, 1)

    def initialise(self, model, seed):
        for name, parameter in model.named_parameters():
            parameter.data.copy_(normal(seed, "init", 0, name, parameter.shape))

    def loss(self, forward, batch):
        return (Fuse.apply(forward(batch[0]), self.options.how) - batch[1]).square().mean()

    def measure(self, forward, batch):
        return {"error": (forward(batch[0]) - batch[1]).square().mean()}
'''


@pytest.fixture
def core() -> Iterator[None]:
    """A local Ray with one core."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.setenv("OMP_NUM_THREADS", "1")
        ray.init(
            address="local", include_dashboard=False, log_to_driver=False, num_cpus=1, num_gpus=0
        )
        yield
        ray.shutdown()


def trial(how: str, lr: float) -> TrialSpec:
    name = f"{how} {lr:g}"
    return TrialSpec(
        key=name,
        workload="fuse",
        options={"how": how},
        params={"lr": lr},
        seed=1,
        budget_epochs=20,
        checkpoint=f"1/{name.replace(' ', '-')}",
        stall_seconds=HANG_SECONDS if how == "hangs" else None,
    )


def suspects(losses: Sequence[WorkerLost]) -> list[int]:
    """Return how many trials each loss suspects, of those that suspect this trial."""
    return [loss.n_suspects for loss in losses if loss.n_suspects]


def test_a_trial_that_ends_its_process_is_found_and_its_neighbours_finish(
    core: None, tmp_path: Path
) -> None:
    """The trials of a stack whose process dies are suspected, and each then trains apart."""
    source = Source(name="fuse.py", files={"fuse.py": FUSE}, folder=str(tmp_path), announced={})
    specs = (trial("segfaults", 0.1), trial("segfaults", 300.0), trial("hangs", 300.0))
    due = {spec.key: spec for spec in specs}
    losses: dict[str, list[WorkerLost]] = defaultdict(list)
    ended: list[str] = []
    epochs: dict[str, set[int]] = defaultdict(set)
    with closing(
        RayLauncher(
            Cluster(),
            checkpoints=Checkpoints(url=str(tmp_path / "kept"), every_seconds=0.0),
            source=source,
            traces=tmp_path / "kept/1/workers",
        )
    ) as launcher:
        launcher.open(len(specs))
        while len(ended) < len(specs):
            while due and launcher.n_free():
                launcher.admit(due.pop(next(iter(due))))
            for event in launcher.events(0.5):
                match event:
                    case Finished(key=key):
                        ended.append(key)
                    case Measurement(key=key, epoch=epoch):
                        epochs[key].add(epoch)
                    case WorkerLost(key=key):
                        losses[key].append(event)
                        how, lr = key.split()
                        apart = any(loss.n_suspects for loss in losses[key])
                        if event.n_suspects == 1:
                            ended.append(key)
                        else:
                            due[key] = replace(trial(how, float(lr)), apart=apart)
                    case _:
                        pytest.fail(f"unexpected: {event}")
    assert epochs["segfaults 0.1"] == set(range(1, 21))
    assert suspects(losses["segfaults 0.1"]) == [2]
    assert suspects(losses["segfaults 300"]) == [2, 1]
    assert suspects(losses["hangs 300"]) == [1]
    crash, hang = (losses[key][-1].reason for key in ("segfaults 300", "hangs 300"))
    for words in ("blown\n", "Fatal Python error: Segmentation fault", "fuse.py"):
        assert words in crash
    assert "no sign of life for 3 s (trial_stall_limit)" in hang
    assert not list((tmp_path / "kept/1/workers").iterdir())
