"""The state of the noise: checkpoints of the handle and of the optimizer."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import (
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from gradnoise import (
    annealed,
    anticorrelated,
    attach,
    constant,
    preconditioned,
)
from weight_sgd import KEY, noise_of, saved, sgd, update, weight_of


def train(optimizer: torch.optim.Optimizer, n: int) -> None:
    for _ in range(n):
        weight = optimizer.param_groups[0]["params"][0]
        weight.grad = (weight.detach() - torch.arange(4)) / 4
        optimizer.step()


@pytest.mark.parametrize(
    "arguments",
    [{"eta": 0.3}, {"process": anticorrelated(0.1)}, {"process": preconditioned(0.01, 0.55)}],
    ids=["annealed", "anticorrelated", "preconditioned"],
)
def test_training_resumed_from_the_state_is_the_same_to_the_bit(arguments: dict[str, Any]) -> None:
    straight = sgd()
    attach(straight, seed=1, **arguments)
    train(straight, 7)
    stopped = sgd()
    noise = attach(stopped, seed=1, **arguments)
    train(stopped, 3)
    file = io.BytesIO()
    torch.save([stopped.state_dict(), noise.state_dict(), weight_of(stopped)], file)
    train(stopped, 2)  # must not change what was saved
    file.seek(0)
    of_optimizer, of_noise, weight = torch.load(file)
    resumed = sgd()
    weight_of(resumed).copy_(weight)
    again = attach(resumed, seed=99, **arguments)
    resumed.load_state_dict(of_optimizer)
    again.load_state_dict(of_noise)
    train(resumed, 4)
    assert torch.equal(weight_of(straight), weight_of(resumed))
    assert (again.t, again.seed) == (7, 1)


def test_the_optimizers_checkpoint_restores_t_alone() -> None:
    """Seed and process are those of the new configuration."""
    optimizer = sgd()
    attach(optimizer, eta=0.3, seed=1)
    for _ in range(3):
        update(optimizer)
    resumed = sgd()
    noise = attach(resumed, eta=0.7, seed=5)
    resumed.load_state_dict(saved(optimizer))
    assert noise.t == 3
    torch.testing.assert_close(update(resumed), annealed(0.7, 0.55).std(3) * noise_of(3, seed=5))


def test_a_checkpoint_loaded_before_attach_restores_t() -> None:
    optimizer = sgd()
    attach(optimizer, constant(1.0), seed=1)
    for _ in range(3):
        update(optimizer)
    resumed = sgd()
    resumed.load_state_dict(saved(optimizer))
    noise = attach(resumed, constant(1.0), seed=1)
    assert noise.t == 3
    assert torch.equal(update(resumed), noise_of(3))


def test_a_checkpoint_made_without_noise_leaves_t_unchanged() -> None:
    foreign = sgd()
    update(foreign)
    optimizer = sgd()
    noise = attach(optimizer, constant(1.0), seed=1)
    for _ in range(3):
        update(optimizer)
    optimizer.load_state_dict(saved(foreign))
    assert noise.t == 3
    assert optimizer.param_groups[0][KEY] == 3
    assert torch.equal(update(optimizer), noise_of(3))


def test_the_state_consists_of_plain_values_for_any_integer_type() -> None:
    noise = attach(sgd(), eta=0.3, seed=np.int64(7))  # type: ignore[arg-type]
    noise.load_state_dict({"t": np.int64(3), "seed": np.int64(7)})
    assert {key: type(value) for key, value in noise.state_dict().items()} == {
        "t": int,
        "seed": int,
    }
    assert noise.state_dict() == {"t": 3, "seed": 7}


@pytest.mark.parametrize(
    ("state", "kind", "message"),
    [
        ({"t": -1, "seed": 1}, ValueError, "t must be at least 0, but got t=-1"),
        ({"t": 1.5, "seed": 1}, TypeError, "t must be an integer, but got t=1.5"),
        ({"t": 1, "seed": "a"}, TypeError, "seed must be an integer, but got seed='a'"),
        ({"t": 1}, ValueError, r"a result of state_dict\(\), but lacks seed"),
        ({"state": {}, "param_groups": []}, ValueError, "lacks seed, t"),
        ({"t": 1, "seed": 1, "states": {"weight": 3}}, TypeError, r"states\['weight'\] must be a"),
    ],
)
def test_an_illegal_state_raises_an_error_and_changes_nothing(
    state: dict[str, Any], kind: type[Exception], message: str
) -> None:
    optimizer = sgd()
    noise = attach(optimizer, constant(1.0), seed=1)
    with pytest.raises(kind, match=message):
        noise.load_state_dict(state)
    assert noise.state_dict() == {"t": 0, "seed": 1}


def test_the_state_of_another_model_raises_an_error() -> None:
    optimizer = sgd()
    noise = attach(optimizer, preconditioned(0.3, 0.55), seed=1)
    noise.load_state_dict({"t": 1, "seed": 1, "states": {"weight": torch.zeros(1)}})
    with pytest.raises(ValueError, match=r"state of weight has shape \(1,\), but .* \(4,\)"):
        update(optimizer)


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_a_distributed_checkpoint_made_without_noise_is_loaded_before_attach(
    tmp_path: Path,
) -> None:
    """torch requires that a checkpoint has all values of the groups, to which attach adds t."""

    def start() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        model = torch.nn.Linear(3, 2)
        return model, torch.optim.Adam(model.named_parameters(), lr=0.1)

    model, optimizer = start()
    model(torch.ones(3)).sum().backward()
    optimizer.step()
    dcp.save(
        {"optimizer": get_optimizer_state_dict(model, optimizer)},
        checkpoint_id=tmp_path,
        no_dist=True,
    )

    model, optimizer = start()
    loaded = {"optimizer": get_optimizer_state_dict(model, optimizer)}
    dcp.load(loaded, checkpoint_id=tmp_path, no_dist=True)
    set_optimizer_state_dict(model, optimizer, loaded["optimizer"])
    assert attach(optimizer, eta=0.3, seed=1).t == 0

    attached = {"optimizer": get_optimizer_state_dict(model, optimizer)}
    with pytest.raises(dcp.api.CheckpointException, match="gradnoise_t"):
        dcp.load(attached, checkpoint_id=tmp_path, no_dist=True)
