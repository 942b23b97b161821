"""The hook in distributed training: replicas stay equal, shards get their slice of the noise."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import (
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)
from torch.nn.parallel import DistributedDataParallel

from gloo_ranks import Ranks
from gradnoise import GradientNoise, attach

pytestmark = pytest.mark.slow  # each starts processes of its own

N_RANKS, N_UPDATES, CLIP = 2, 4, 0.1
NOISE: dict[str, Any] = {"eta": 0.3, "gamma": 0.55, "seed": 1}
BATCH = torch.linspace(-1, 1, 8 * 3).view(8, 3)

Weights = list[np.ndarray[Any, Any]]


def net(width: int = 5) -> torch.nn.Sequential:
    """Return a net that two ranks cannot divide evenly: of 5 rows they get 3 and 2, of 1 row 1 and
    0.
    """
    model = torch.nn.Sequential(
        torch.nn.Linear(3, width), torch.nn.Tanh(), torch.nn.Linear(width, 1)
    )
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.copy_(
                torch.linspace(-0.5, 0.5, parameter.numel()).view_as(parameter) + 0.1 * i
            )
    return model


def train(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    inputs: torch.Tensor,
    n: int = N_UPDATES,
) -> None:
    for _ in range(n):
        optimizer.zero_grad()
        (model(inputs) ** 2).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()


def adam(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.named_parameters(), lr=0.1)


def share() -> torch.Tensor:
    return BATCH.chunk(N_RANKS)[torch.distributed.get_rank()]


def weights(model: torch.nn.Module) -> Weights:
    """Return the whole parameters as arrays."""
    whole = [
        parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter
        for parameter in model.parameters()
    ]
    return [parameter.detach().numpy() for parameter in whole]


def in_one_process(width: int = 5, **noise: Any) -> tuple[Weights, GradientNoise]:
    model = net(width)
    optimizer = adam(model)
    handle = attach(optimizer, **(NOISE | noise))
    train(model, optimizer, BATCH)
    return weights(model), handle


def assert_close(found: Weights, expected: Weights) -> None:
    for pair in zip(found, expected, strict=True):
        torch.testing.assert_close(*map(torch.from_numpy, pair))


def are_equal(first: Weights, second: Weights) -> bool:
    return all(np.array_equal(*pair) for pair in zip(first, second, strict=True))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    ranks = Ranks(N_RANKS, tmp_path_factory.mktemp("ranks"))
    yield ranks
    ranks.stop()


def replicated(is_view: bool) -> Weights:
    torch.manual_seed(torch.distributed.get_rank())  # as many training scripts do
    torch.rand(3 + torch.distributed.get_rank())
    model = net()
    optimizer = adam(model)
    attach(optimizer, **NOISE)
    train(DistributedDataParallel(model, gradient_as_bucket_view=is_view), optimizer, share())
    return weights(model)


@pytest.mark.parametrize(
    "is_view", [False, True], ids=["own gradients", "gradients as views of buckets"]
)
def test_replicas_with_different_global_seeds_stay_equal(ranks: Ranks, is_view: bool) -> None:
    """To the bit. They equal a single process that trains on both batches, to rounding."""
    first, second = ranks.run(replicated, is_view)
    assert are_equal(first, second)
    assert_close(first, in_one_process()[0])


def of_even_columns(parameter: torch.nn.Parameter) -> Shard | None:
    """Return the second axis for a matrix that it divides evenly, as FSDP2 requires; else None, the
    default.
    """
    return Shard(1) if parameter.ndim == 2 and parameter.shape[1] % N_RANKS == 0 else None


def sharded(
    width: int, along_columns: bool, mesh_shape: tuple[int, ...]
) -> tuple[Weights, float | None]:
    model = net(width)
    names = ("replicas", "shards")[-len(mesh_shape) :]
    mesh = init_device_mesh("cpu", mesh_shape, mesh_dim_names=names)
    for layer in (model[0], model[2], model):
        fully_shard(layer, mesh=mesh, shard_placement_fn=of_even_columns if along_columns else None)
    optimizer = adam(model)
    handle = attach(optimizer, **NOISE, measure_ratio=True)
    train(model, optimizer, share())
    return weights(model), handle.ratio


@pytest.mark.parametrize(
    ("width", "along_columns", "mesh"),
    [(5, False, (2,)), (4, False, (2,)), (4, True, (2,)), (5, False, (1, 2)), (5, False, (2, 1))],
    ids=["uneven", "even", "along columns", "hybrid, sharded", "hybrid, replicated"],
)
def test_a_sharded_model_trains_as_the_unsharded_model(
    ranks: Ranks, width: int, along_columns: bool, mesh: tuple[int, ...]
) -> None:
    """To rounding: a shard's noise is its slice of the whole parameter's noise."""
    expected, whole = in_one_process(width, measure_ratio=True)
    for found, ratio in ranks.run(sharded, width, along_columns, mesh):
        assert_close(found, expected)
        assert ratio == pytest.approx(whole.ratio, rel=1e-5)


def tensor_parallel() -> Weights:
    model = parallelize_module(
        net(4),
        init_device_mesh("cpu", (N_RANKS,)),
        {"0": ColwiseParallel(), "2": RowwiseParallel()},
    )
    optimizer = adam(model)
    attach(optimizer, **NOISE)
    train(model, optimizer, BATCH)
    return weights(model)


def test_a_tensor_parallel_model_trains_as_the_unsharded_model(ranks: Ranks) -> None:
    """Its parameters are sharded by rows, sharded by columns, or replicated."""
    for found in ranks.run(tensor_parallel):
        assert_close(found, in_one_process(4)[0])


def normed() -> torch.nn.Sequential:
    """Return a net with a norm between two layers, for tensor and sequence parallelism."""
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.LayerNorm(4), torch.nn.Tanh(), torch.nn.Linear(4, 1)
    )
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.copy_(
                torch.linspace(-0.5, 0.5, parameter.numel()).view_as(parameter) + 0.1 * i
            )
    return model


def of_a_normed_net(is_parallel: bool) -> tuple[Weights, float | None]:
    """Train the net on a sequence, whose steps the norm divides among the ranks."""
    model: Any = normed()
    if is_parallel:
        plan = {
            "0": ColwiseParallel(output_layouts=Shard(1)),
            "1": SequenceParallel(),
            "3": ColwiseParallel(input_layouts=Shard(1), output_layouts=Replicate()),
        }
        model = parallelize_module(model, init_device_mesh("cpu", (N_RANKS,)), plan)
    optimizer = adam(model)
    handle = attach(optimizer, **NOISE, measure_ratio=True)
    for _ in range(N_UPDATES):
        optimizer.zero_grad()
        (model(BATCH[None]) ** 2).mean().backward()
        optimizer.step()
    return weights(model), handle.ratio


def test_sequence_parallel_norms_train_as_the_unsharded_model(ranks: Ranks) -> None:
    """The gradient of a norm arrives as a partial sum on each rank."""
    expected, ratio_of_one = of_a_normed_net(is_parallel=False)
    for found, ratio in ranks.run(of_a_normed_net, True):
        assert_close(found, expected)
        assert ratio == pytest.approx(ratio_of_one, rel=1e-5)


def sharded_in_part() -> tuple[Weights, float | None]:
    """Shard the first layer alone: the gradients of the second layer are ordinary tensors."""
    model = net(4)
    fully_shard(model[0])
    optimizer = adam(model)
    handle = attach(optimizer, **NOISE, measure_ratio=True)
    for _ in range(N_UPDATES):
        optimizer.zero_grad()
        (model(BATCH) ** 2).mean().backward()
        optimizer.step()
    return weights(model), handle.ratio


def test_the_ratio_of_a_model_that_is_sharded_in_part_is_that_of_the_unsharded_model(
    ranks: Ranks,
) -> None:
    model = net(4)
    optimizer = adam(model)
    handle = attach(optimizer, **NOISE, measure_ratio=True)
    for _ in range(N_UPDATES):
        optimizer.zero_grad()
        (model(BATCH) ** 2).mean().backward()
        optimizer.step()
    for found, ratio in ranks.run(sharded_in_part):
        assert_close(found, weights(model))
        assert ratio == pytest.approx(handle.ratio, rel=1e-5)


def warned(kind: str, differing: str) -> list[str]:
    """Train with noise that differs between ranks; return the warnings."""
    rank = torch.distributed.get_rank()
    model: Any = net(4)
    is_different = {name: differing == name and rank > 0 for name in ("seed", "eta", "t")}
    if kind == "DDP":
        model = DistributedDataParallel(model)
    elif kind == "FSDP2":
        fully_shard(model)
    optimizer = adam(model)
    noise = attach(
        optimizer,
        eta=0.1 if is_different["eta"] else 0.3,
        seed=1 + is_different["seed"],
    )
    noise.load_state_dict({"t": int(is_different["t"]), "seed": noise.seed})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(model, optimizer, share())
    return [str(warning.message) for warning in caught if "ranks" in str(warning.message)]


@pytest.mark.parametrize("differing", ["nothing", "seed", "eta", "t"])
@pytest.mark.parametrize("kind", ["DDP", "FSDP2", "independent"])
def test_noise_that_differs_between_ranks_of_one_training_causes_a_warning(
    ranks: Ranks, kind: str, differing: str
) -> None:
    """Once, on all ranks but the first to update. Independent trainings may differ."""
    found = [message for messages in ranks.run(warned, kind, differing) for message in messages]
    assert len(found) == (differing != "nothing" and kind != "independent")
    for message in found:
        assert message.startswith("The ranks add different noise")
        assert {"eta": "std"}.get(differing, differing) + "=" in message


def strided() -> str:
    model, mesh = net(4), init_device_mesh("cpu", (1, N_RANKS), mesh_dim_names=("shards", "slices"))
    parallelize_module(model, mesh["slices"], {"0": ColwiseParallel()})
    fully_shard(model, mesh=mesh["shards"])
    optimizer = adam(model)
    attach(optimizer, **NOISE)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    try:
        optimizer.step()
    except TypeError as error:
        return str(error)
    return ""


def test_a_shard_that_is_no_slice_raises_an_error(ranks: Ranks) -> None:
    """FSDP2 over tensor parallelism distributes the rows in turn."""
    assert all("0.weight is placed as (_StridedShard" in message for message in ranks.run(strided))


def checkpointed(folder: str) -> tuple[Weights, Weights, dict[str, Any]]:
    def start() -> tuple[Any, torch.optim.Optimizer, GradientNoise]:
        model = fully_shard(net())
        optimizer = adam(model)
        return model, optimizer, attach(optimizer, **NOISE)

    def state(model: Any, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        return {
            "model": get_model_state_dict(model),
            "optimizer": get_optimizer_state_dict(model, optimizer),
        }

    facts: dict[str, Any] = {}
    model, optimizer, noise = start()
    # before the first step torch makes a step on zeros to create the optimizer's state
    phantom = state(model, optimizer)["optimizer"]["state"]
    facts["phantom"] = (
        noise.t,
        [float(entry["exp_avg"].full_tensor().abs().max()) for entry in phantom.values()],
    )

    model, optimizer, noise = start()
    train(model, optimizer, share(), 3)
    dcp.save(state(model, optimizer), checkpoint_id=folder)
    facts["saved"] = noise.t
    train(model, optimizer, share(), 2)

    resumed, optimizer, noise = start()
    loaded = state(resumed, optimizer)
    dcp.load(loaded, checkpoint_id=folder)
    set_model_state_dict(resumed, loaded["model"])
    set_optimizer_state_dict(resumed, optimizer, loaded["optimizer"])
    facts["resumed"] = noise.t
    train(resumed, optimizer, share(), 2)
    return weights(model), weights(resumed), facts


def test_a_distributed_checkpoint_restores_t(ranks: Ranks, tmp_path: Path) -> None:
    """The step by which torch creates an optimizer's state gets no noise and does not count."""
    for straight, resumed, facts in ranks.run(checkpointed, str(tmp_path)):
        assert facts == {"phantom": (0, [0.0] * 4), "saved": 3, "resumed": 3}
        assert are_equal(straight, resumed)


def refusals() -> list[str]:
    """Return the errors of attach for optimizers whose gradients it cannot see."""
    from torch.distributed.optim import ZeroRedundancyOptimizer  # its import warns

    model = net()
    found = []
    for optimizer in (
        ZeroRedundancyOptimizer(model.parameters(), torch.optim.SGD, lr=0.1),
        torch.optim.SGD(
            FullyShardedDataParallel(net(), device_id=torch.device("cpu")).parameters(), lr=0.1
        ),
        torch.optim.SGD(
            FullyShardedDataParallel(
                net(), device_id=torch.device("cpu"), use_orig_params=True
            ).parameters(),
            lr=0.1,
        ),
    ):
        try:
            attach(optimizer, **NOISE)
            found.append("")
        except TypeError as error:
            found.append(str(error))
    return found


def test_optimizers_that_hide_gradients_raise_an_error_with_a_remedy(ranks: Ranks) -> None:
    for messages in ranks.run(refusals):
        assert len(messages) == 3
        assert all("fully_shard" in message for message in messages)
