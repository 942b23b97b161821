"""Which models stack, and what is said about those that do not."""

import functools
from collections.abc import Callable, Iterator, Mapping

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradnoise.training.single import SingleTrainer
from gradnoise.training.stack import StackTrainer
from gradnoise.workloads import GRU, LSTM, Batch, Forward, Metric, Splits, Workload, normal
from gradnoise.workloads.registry import WORKLOADS
from trial_runs import curve, run, spec


class Pooled(nn.Module):
    """Tokens are embedded, pass an inner part, and their mean is classified."""

    def __init__(self, inner: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.embedding, self.inner = nn.Embedding(11, 8), inner
        self.output = nn.Linear(8, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.output(self.inner(self.embedding(tokens)).mean(1))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.norm = nn.MultiheadAttention(8, 2, batch_first=True), nn.LayerNorm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x + self.attention(x, x, x, need_weights=False)[0])


class Causal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.project(x).chunk(3, 2)
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True)


class Convolved(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kernel, self.norm = nn.Conv1d(8, 8, 3, padding=1), nn.GroupNorm(2, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.gelu(self.norm(self.kernel(x.mT))).mT


class Recurrent(nn.Module):
    def __init__(self, net: nn.RNNBase) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)[0]


class Autocast(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.net(x)


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.narrow = nn.Linear(8, 8).bfloat16()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.narrow(x.bfloat16()).float()


def encoder(dropout: float) -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


STACKING: Mapping[str, tuple[Callable[[], nn.Module], float]] = {
    "multi-head attention": (lambda: Pooled(Attention()).double(), 1e-12),
    "Transformer encoder": (lambda: Pooled(encoder(0.0)).double(), 1e-12),
    "scaled dot product": (lambda: Pooled(Causal()).double(), 1e-12),
    "convolution and GroupNorm": (lambda: Pooled(Convolved()).double(), 1e-12),
    "GRU": (lambda: Pooled(Recurrent(GRU(8, 8, batch_first=True))).double(), 1e-12),
    "LSTM": (lambda: Pooled(Recurrent(LSTM(8, 8, batch_first=True))).double(), 1e-12),
    "half precision": (lambda: Pooled(Attention()).bfloat16(), 0.05),
    "autocast": (lambda: Autocast(Pooled(Convolved())), 0.05),
    "attention and LayerNorm under autocast": (lambda: Autocast(Pooled(encoder(0.0))), 0.05),
}
LONE: Mapping[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "torch's LSTM": (
        lambda: Pooled(Recurrent(nn.LSTM(8, 8, batch_first=True))),
        ("at test_observed.py:", "`return self.net(x)[0]`", "gradnoise.workloads.GRU and LSTM"),
    ),
    "attention dropout": (
        lambda: Pooled(encoder(0.1)),
        ("at test_observed.py:", "self.inner(", "draw random numbers"),
    ),
    "mixed types": (lambda: Pooled(Mixed()), ("torch.bfloat16 and torch.float32",)),
}


@functools.cache
def splits() -> Splits:
    tokens = (normal(1, "tokens", 0, "", (40, 6)).abs() * 5).long().clamp(max=10)
    parts = zip(tokens.split([24, 8, 8]), (tokens.sum(1) % 3).split([24, 8, 8]), strict=True)
    train, validation, test = parts
    return Splits(train=train, validation=validation, test=test)


class Tokens(Workload):
    name = "tokens"
    description = "Classifies sequences."
    metrics = (Metric(name="loss", direction="minimize", worst=1e6),)
    places = ("gradient", "weights")
    batch_size = 8

    def data(self) -> Splits:
        return splits()

    @torch.no_grad()
    def initialise(self, model: nn.Module, seed: int) -> None:
        for name, parameter in model.named_parameters():
            parameter.copy_(normal(seed, "init", 0, name, parameter.shape) * 0.3)

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        return functional.cross_entropy(forward(batch[0]), batch[1])

    def measure(self, forward: Forward, batch: Batch) -> Mapping[str, torch.Tensor]:
        return {"loss": self.loss(forward, batch)}


@pytest.fixture
def with_model() -> Iterator[Callable[[Callable[[], nn.Module]], None]]:
    """Register the workload with a model."""
    contexts = []

    def register(make: Callable[[], nn.Module]) -> None:
        declared = type("WithModel", (Tokens,), {"model": lambda _self: make()})
        context = WORKLOADS.including(declared)
        context.__enter__()
        contexts.append(context)

    yield register
    for context in contexts:
        context.__exit__(None, None, None)


@pytest.mark.parametrize("name", STACKING)
def test_it_stacks_with_the_results_that_it_has_alone(
    name: str, with_model: Callable[[Callable[[], nn.Module]], None]
) -> None:
    make, rtol = STACKING[name]
    with_model(make)
    stack = StackTrainer(2)
    trials = [
        spec(key, workload="tokens", seed=k, params={"lr": 0.1}) for k, key in enumerate("ab")
    ]
    events = run(stack, *trials)
    assert set(stack.refusals.values()) == {""}
    for trial in trials:
        alone = curve(run(SingleTrainer(1), trial), trial.key)
        for found, expected in zip(curve(events, trial.key), alone, strict=True):
            assert found == pytest.approx(expected, rel=rtol)


@pytest.mark.parametrize("name", LONE)
def test_what_cannot_stack_is_named_with_its_line(
    name: str, with_model: Callable[[Callable[[], nn.Module]], None]
) -> None:
    make, words = LONE[name]
    with_model(make)
    stack, trial = StackTrainer(2), spec(workload="tokens", budget_epochs=1, params={"lr": 0.1})
    assert len(curve(run(stack, trial))) == 1
    (reason,) = stack.refusals.values()
    assert all(each in reason for each in words), reason
