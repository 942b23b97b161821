"""The reference trainer compared with a training loop in plain torch."""

from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, StepLR

from gradnoise.training.setup import prepare
from gradnoise.training.single import SingleRun, SingleTrainer
from gradnoise.training.trial import Measurement, TrialSpec
from gradnoise.workloads import permutation

EPOCHS = 6
SCHEDULERS: dict[str, Any] = {
    "constant": lambda optimizer: StepLR(optimizer, EPOCHS),
    "cosine": lambda optimizer: CosineAnnealingLR(optimizer, EPOCHS),
    "step": lambda optimizer: StepLR(optimizer, 2, gamma=0.1),
    "halving": lambda optimizer: StepLR(optimizer, 2, gamma=0.5),
}
NEEDS = {"step": {"lr_every_epochs": 2, "lr_factor": 0.1}, "halving": {"lr_every_epochs": 2}}
CLIPS: list[dict[str, float]] = [
    {},
    {"clip_value": 0.1},
    {"clip_norm": 0.3},
    {"clip_value": 0.1, "clip_norm": 0.3},
]
pytestmark = pytest.mark.usefixtures("probes")


def losses_by_hand(spec: TrialSpec) -> list[float]:
    """Train the trial in a loop: clip by value, clip by norm, step; the scheduler steps once an
    epoch. Return each epoch's mean loss.
    """
    workload: Any = prepare(spec).workload
    model = workload.model()
    workload.initialise(model, spec.seed)
    params: Any = spec.params
    optimizer = torch.optim.SGD(model.parameters(), lr=params["lr"], momentum=0.9, nesterov=True)
    scheduler: LRScheduler = SCHEDULERS[params["lr_schedule"]](optimizer)
    losses = []
    for epoch in range(EPOCHS):
        batch_losses = []
        for rows in permutation(spec.seed, "order", epoch, 30)[:24].view(3, 8):
            optimizer.zero_grad()
            loss = workload.loss(model, tuple(part[rows] for part in workload.data().train))
            loss.backward()
            if "clip_value" in params:
                torch.nn.utils.clip_grad_value_(model.parameters(), params["clip_value"])
            if "clip_norm" in params:
                torch.nn.utils.clip_grad_norm_(model.parameters(), params["clip_norm"])
            optimizer.step()
            batch_losses.append(float(loss.detach()))
        scheduler.step()
        losses.append(sum(batch_losses) / 3)
    return losses


@pytest.mark.parametrize("clips", CLIPS, ids=str)
@pytest.mark.parametrize("schedule", SCHEDULERS)
def test_a_trial_trains_like_a_loop_in_plain_torch(schedule: str, clips: dict[str, float]) -> None:
    """In float64 over 18 updates; only the mean of the losses and the cosine are rounded
    differently, by about 2^-53.
    """
    params = (
        {"lr": 0.05, "momentum": 0.9, "nesterov": 1, "lr_schedule": schedule}
        | NEEDS.get(schedule, {})
        | clips
    )
    spec = TrialSpec(key="a", workload="exact", params=params, seed=1, budget_epochs=EPOCHS)
    trainer = SingleTrainer(1)
    trainer.admit(spec)
    events = [event for _ in range(EPOCHS) for event in trainer.advance()]
    found = [event.values["train_loss"] for event in events if isinstance(event, Measurement)]
    assert found == pytest.approx(losses_by_hand(spec), rel=1e-12)


def test_the_ratio_of_noise_to_gradient_ignores_frozen_weights() -> None:
    """A network whose first layer is frozen has 8 trained weights; the gradient is clipped to norm
    0.001, the noise has variance 0.09.
    """
    params = {"lr": 1e-6, "clip_norm": 0.001, "eta": 0.09, "gamma": 0.0}
    trainer = SingleTrainer(1)
    trainer.admit(
        TrialSpec(
            key="a",
            workload="lone",
            options={"why": "frozen"},
            techniques=("annealed",),
            params=params,
            seed=1,
            budget_epochs=1,
        )
    )
    values = next(event.values for event in trainer.advance() if isinstance(event, Measurement))
    assert values["noise_to_gradient"] == pytest.approx(0.3 * 8**0.5 / 0.001, rel=1e-3)


def test_every_schedule_and_every_clipping_changes_the_result() -> None:
    """So each trial above fails if the trainer ignores its schedule or its clipping."""
    specs = [
        TrialSpec(
            key="a",
            workload="exact",
            params={"lr": 0.05, "lr_schedule": schedule} | NEEDS.get(schedule, {}) | clips,
            seed=1,
            budget_epochs=EPOCHS,
        )
        for schedule in SCHEDULERS
        for clips in CLIPS
    ]
    assert len({round(losses_by_hand(spec)[-1], 9) for spec in specs}) == len(specs)


def test_the_order_of_an_epoch_is_copied_to_the_device_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The update's rows are views of the whole order; the device here holds no numbers."""
    steps: list[torch.Tensor] = []

    def stopped(_run: SingleRun, rows: torch.Tensor, **_: object) -> None:
        steps.append(rows)
        raise InterruptedError

    monkeypatch.setattr(SingleRun, "step", stopped)
    spec = TrialSpec(key="a", workload="exact", params={"lr": 0.1}, seed=1, budget_epochs=1)
    setup: Any = prepare(spec)
    run = SingleRun(setup, setup.workload, torch.device("meta"))
    with pytest.raises(InterruptedError):
        run.train_epoch()
    order = steps[0]._base
    assert order is not None
    assert order.is_meta
    assert order.shape == (3, setup.workload.batch_size)
