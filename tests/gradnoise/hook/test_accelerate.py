"""The hook on optimizers that Accelerate wraps: noise once per update, after clipping."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from gradnoise import annealed, attach
from noise_by_hand import add_noise

pytest.importorskip("accelerate")

from accelerate import Accelerator

SEED, ETA, GAMMA = 1, 0.3, 0.55
N_BATCHES, ACCUMULATE, CLIP = 6, 2, 1e-6
BATCHES = TensorDataset(torch.linspace(-1, 1, 24 * 3).view(24, 3))


def net() -> torch.nn.Linear:
    model = torch.nn.Linear(3, 2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter))
    return model


def batches() -> DataLoader[Any]:
    return DataLoader(BATCHES, batch_size=len(BATCHES) // N_BATCHES)


def loss_of(model: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    return (model(inputs) ** 2).mean()


def by_hand() -> torch.nn.Module:
    """Train in plain torch as the tests below do, with the noise added by hand after clipping."""
    model = net()
    optimizer = torch.optim.Adam(model.named_parameters(), lr=0.1)
    for i, (inputs,) in enumerate(batches()):
        (loss_of(model, inputs) / ACCUMULATE).backward()
        if (i + 1) % ACCUMULATE == 0:
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            t = i // ACCUMULATE
            add_noise(model.named_parameters(), SEED, t, annealed(ETA, GAMMA).std(t))
            optimizer.step()
            optimizer.zero_grad()
    return model


@pytest.mark.parametrize("attached", ["before prepare", "after prepare"])
def test_noise_is_added_once_per_update_and_not_in_steps_that_accumulate(attached: str) -> None:
    """The loop calls step() for every micro-batch; Accelerate skips all but the last."""
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=ACCUMULATE)
    model = net()
    optimizer = torch.optim.Adam(model.named_parameters(), lr=0.1)
    noise = (
        attach(optimizer, eta=ETA, gamma=GAMMA, seed=SEED) if attached == "before prepare" else None
    )
    prepared, wrapped, loader = accelerator.prepare(model, optimizer, batches())
    noise = noise or attach(wrapped, eta=ETA, gamma=GAMMA, seed=SEED)
    assert noise.is_attached(optimizer)
    assert noise.is_attached(wrapped)
    counts = []
    for (inputs,) in loader:
        with accelerator.accumulate(prepared):
            accelerator.backward(loss_of(prepared, inputs))
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(prepared.parameters(), CLIP)
            wrapped.step()
            wrapped.zero_grad()
        counts.append(noise.t)
    assert counts == [0, 1, 1, 2, 2, 3]
    for parameter, expected in zip(model.parameters(), by_hand().parameters(), strict=True):
        assert torch.equal(parameter, expected)


def test_a_checkpoint_of_accelerate_restores_t(tmp_path: Path) -> None:
    """`save_state` stores the optimizer's groups, which contain t."""

    def train(n: int, accelerator: Accelerator, model: torch.nn.Module, optimizer: Any) -> None:
        for _ in range(n):
            accelerator.backward(loss_of(model, torch.ones(2, 3)))
            optimizer.step()
            optimizer.zero_grad()

    def start() -> tuple[Any, ...]:
        accelerator = Accelerator(cpu=True)
        model = net()
        model, optimizer = accelerator.prepare(
            model, torch.optim.Adam(model.named_parameters(), lr=0.1)
        )
        return accelerator, model, optimizer, attach(optimizer, eta=ETA, gamma=GAMMA, seed=SEED)

    accelerator, straight, optimizer, _ = start()
    train(2, accelerator, straight, optimizer)
    accelerator.save_state(str(tmp_path))
    train(2, accelerator, straight, optimizer)

    accelerator, resumed, optimizer, noise = start()
    accelerator.load_state(str(tmp_path))
    assert noise.t == 2
    train(2, accelerator, resumed, optimizer)
    for parameter, expected in zip(resumed.parameters(), straight.parameters(), strict=True):
        assert torch.equal(parameter, expected)
