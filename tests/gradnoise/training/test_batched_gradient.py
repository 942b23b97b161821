"""The gradients of many models are those of each, whether or not vmap has a rule for the model."""

from collections.abc import Callable, Mapping

import pytest
import torch
from torch.func import functional_call

from gradnoise.training.batched_gradient import BatchedGradient
from gradnoise.workloads import normal
from gradnoise.workloads.base import Batch, Tensors

N, BATCH, LENGTH, WIDTH = 3, 4, 5, 6


class Lines(torch.nn.Module):
    """Counts its updates, and reads lines with a GRU, which vmap has no rule for."""

    updates: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.gru = torch.nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.register_buffer("updates", torch.zeros(()))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.updates.add_(1)
        outputs: torch.Tensor = self.gru(inputs)[0]
        return outputs


class Averaging(torch.nn.Module):
    """A linear layer, normalisation, and a buffer into which autograd sees its outputs go."""

    total: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = torch.nn.Linear(WIDTH, WIDTH), torch.nn.BatchNorm1d(LENGTH)
        self.register_buffer("total", torch.zeros(()))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.norm(torch.tanh(self.layer(inputs)))
        self.total.add_(outputs.square().sum())
        return outputs


MODELS: Mapping[str, Callable[[], torch.nn.Module]] = {"rule": Averaging, "no rule": Lines}


def drawn(name: str, shape: torch.Size | tuple[int, ...]) -> torch.Tensor:
    return normal(1, "draw", 0, name, (N, *shape))


@pytest.mark.parametrize("name", MODELS)
def test_gradients_losses_and_buffers_are_those_of_separate_models(name: str) -> None:
    model = MODELS[name]()
    weights = {name: drawn(name, part.shape) for name, part in model.named_parameters()}
    first = dict(model.named_buffers())
    buffers = {name: torch.stack([part] * N) for name, part in first.items()}
    batch, factors = (drawn("x", (BATCH, LENGTH, WIDTH)),), {"factor": torch.arange(1.0, 1 + N)}

    def loss(weights: Tensors, buffers: Tensors, batch: Batch, hyper: Tensors) -> torch.Tensor:
        outputs = functional_call(model, {**weights, **buffers}, batch)
        return hyper["factor"] * outputs.square().mean()

    gradient = BatchedGradient(loss)
    for _ in range(2):
        gradients = {name: torch.empty_like(part) for name, part in weights.items()}
        losses = gradient(weights, buffers, batch, factors, gradients)
    assert not any(part.requires_grad for part in (losses, *gradients.values(), *buffers.values()))
    for k in range(N):
        leaves = {name: part[k].clone().requires_grad_() for name, part in weights.items()}
        alone = {name: part.clone() for name, part in first.items()}
        for _ in range(2):
            expected = loss(leaves, alone, (batch[0][k],), {"factor": factors["factor"][k]})
            alone = {name: part.detach() for name, part in alone.items()}
        torch.testing.assert_close(losses[k], expected.detach())
        expected.backward()  # type: ignore[no-untyped-call]  # of torch
        for name, leaf in leaves.items():
            torch.testing.assert_close(gradients[name][k], leaf.grad)
        for name, part in alone.items():
            torch.testing.assert_close(buffers[name][k], part)


def test_an_exception_of_the_loss_is_raised() -> None:
    def loss(weights: Tensors, _buffers: Tensors, _batch: Batch, _hyper: Tensors) -> torch.Tensor:
        raise RuntimeError(f"{len(weights)} weights")

    part = {"w": torch.ones(N)}
    with pytest.raises(RuntimeError, match="1 weights"):
        BatchedGradient(loss)(part, {}, (), {}, part)
