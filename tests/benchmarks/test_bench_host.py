"""The benchmark of the host's work: its figures, from small stacks of a small network."""

import pytest
import torch

from benchmarks import bench_host
from benchmarks.sides import Case


@pytest.mark.usefixtures("workloads")
def test_it_measures_the_host_at_every_number_of_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """No update is made: the weights of the members stay on a device without numbers."""
    options = {"dataset": "digits", "depth": 1, "width": 4, "train_examples": 200}
    case = Case(name="small", workload="dense", options=options)
    for name, value in {"CASE": case, "SLOTS": (2, 4), "ROUNDS": 2, "SAMPLE": 2}.items():
        monkeypatch.setattr(bench_host, name, value)
    with bench_host.on_no_device():
        trainer = bench_host.opened(2)
        figures = {figure.name: figure for figure in bench_host.measured()}
    runs = [member.run for member in trainer._members.values()]
    assert [run.weights.device for run in runs] == [torch.device("meta")] * 2  # type: ignore[union-attr]
    assert [run.t for run in runs] == [2, 2]  # type: ignore[union-attr]
    assert all(len(figure.values) == 2 and min(figure.values) > 0 for figure in figures.values())
    assert [figure.at_most for figure in figures.values()] == [None, 170, 10, None, None, None]
