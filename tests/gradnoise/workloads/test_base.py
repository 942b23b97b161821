import pytest
import torch

from gradnoise.workloads.base import Metric, Splits, Workload
from gradnoise.workloads.paper.mlp import Mlp


def test_a_workload_checks_its_options_and_its_own_hyperparameters() -> None:
    with pytest.raises(ValueError, match=r"options\.width must be"):
        Mlp({"width": -1})
    with pytest.raises(ValueError, match="there is no parameter named 'lr' here"):
        Mlp({}, {"lr": 0.1})


def test_a_workload_that_lacks_a_part_cannot_be_opened() -> None:
    class Half(Workload):
        name = "half"
        description = "Half a workload."
        metrics = (Metric(name="x", direction="maximize", worst=0.0),)

    with pytest.raises(TypeError, match="abstract"):
        Half()  # type: ignore[abstract]


def test_options_that_are_no_dataclass_are_refused_where_they_are_written() -> None:
    with pytest.raises(TypeError, match="Options must be a dataclass"):

        class Wrong(Mlp):
            Options = dict


def test_data_is_copied_to_a_device_once() -> None:
    parts = [(torch.zeros(2),)] * 3
    splits = Splits(train=parts[0], validation=parts[1], test=parts[2])
    assert splits.to(torch.device("meta")) is splits.to(torch.device("meta"))
    assert splits.to(torch.device("meta")).train[0].device.type == "meta"
