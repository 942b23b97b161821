"""Real training runs of Hugging Face's Trainer with the callback, compared with loops by hand
with `attach`.
"""

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from gradnoise import annealed, attach

pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from transformers import Trainer, TrainerCallback, TrainingArguments

from gradnoise.integrations.transformers import GradientNoiseCallback

NOISE: dict[str, Any] = {"eta": 0.3, "gamma": 0.55, "seed": 1}
N_BATCHES, BATCH_SIZE = 6, 4


class Net(torch.nn.Module):
    """A small net that takes a batch as keywords and returns its loss, as the Trainer requires."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)
        )
        with torch.no_grad():
            for i, parameter in enumerate(self.parameters()):
                parameter.copy_(
                    torch.linspace(-0.5, 0.5, parameter.numel()).view_as(parameter) + 0.1 * i
                )

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": torch.nn.functional.mse_loss(self.layers(inputs), labels)}


class Lines(Dataset[dict[str, torch.Tensor]]):
    inputs = torch.linspace(-1, 1, N_BATCHES * BATCH_SIZE * 3).view(-1, 3)
    labels = torch.linspace(1, -1, N_BATCHES * BATCH_SIZE).view(-1, 1)

    def __len__(self) -> int:
        return N_BATCHES * BATCH_SIZE

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        return {"inputs": self.inputs[i], "labels": self.labels[i]}


def batches() -> Iterable[dict[str, torch.Tensor]]:
    lines = Lines()
    for inputs, labels in zip(
        lines.inputs.split(BATCH_SIZE), lines.labels.split(BATCH_SIZE), strict=True
    ):
        yield {"inputs": inputs, "labels": labels}


def adam(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.named_parameters(), lr=0.05)


def trainer(
    model: Net, folder: Path, *callbacks: TrainerCallback, optimizer: Any = adam, **options: Any
) -> Trainer:
    arguments = {
        "output_dir": str(folder),
        "num_train_epochs": 2,
        "per_device_train_batch_size": BATCH_SIZE,
        "train_sampling_strategy": "sequential",
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "learning_rate": 0.05,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "dataloader_pin_memory": False,
    }
    return Trainer(
        model=model,
        args=TrainingArguments(**(arguments | options)),
        train_dataset=Lines(),
        callbacks=list(callbacks),
        optimizers=(optimizer(model) if optimizer else None, None),
    )


def by_hand(
    model: Net,
    accumulate: int = 1,
    clip: float | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> Net:
    optimizer = optimizer or adam(model)
    with attach(optimizer, **NOISE, names=model.named_parameters()):
        for _ in range(2):
            for i, batch in enumerate(batches()):
                (model(**batch)["loss"] / accumulate).backward()
                if (i + 1) % accumulate == 0:
                    if clip is not None:
                        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
                    optimizer.step()
                    optimizer.zero_grad()
    return model


def assert_same_weights(found: torch.nn.Module, expected: torch.nn.Module) -> None:
    assert all(map(torch.equal, found.parameters(), expected.parameters()))


def test_a_run_equals_the_loop_by_hand(tmp_path: Path) -> None:
    """To the bit, although the Trainer wraps its optimizer; a run without noise differs."""
    model, plain, noise = Net(), Net(), GradientNoiseCallback(**NOISE)
    trainer(model, tmp_path, noise).train()
    trainer(plain, tmp_path).train()
    assert_same_weights(model, by_hand(Net()))
    assert noise.noise is not None
    assert noise.noise.t == 2 * N_BATCHES
    assert not any(
        torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True)
    )


def test_the_optimizer_that_the_trainer_creates_gets_noise(tmp_path: Path) -> None:
    """The Trainer creates it when training starts, with two groups: with weight decay and
    without. Its parameters have their names in the model.
    """
    model, hand = Net(), Net()
    trainer(
        model, tmp_path, GradientNoiseCallback(**NOISE), optimizer=None, weight_decay=0.1
    ).train()
    same = trainer(hand, tmp_path, optimizer=None, weight_decay=0.1)
    assert_same_weights(model, by_hand(hand, optimizer=same.create_optimizer()))


def test_noise_is_added_after_clipping_and_once_per_accumulated_update(tmp_path: Path) -> None:
    """Clipping leaves almost nothing of the gradients, so the updates consist of noise."""
    model, noise = Net(), GradientNoiseCallback(**NOISE)
    trainer(model, tmp_path, noise, gradient_accumulation_steps=3, max_grad_norm=1e-6).train()
    assert_same_weights(model, by_hand(Net(), accumulate=3, clip=1e-6))
    assert noise.noise is not None
    assert noise.noise.t == 2 * N_BATCHES / 3


@pytest.mark.parametrize("stop", [4, N_BATCHES], ids=["within an epoch", "between epochs"])
def test_a_run_resumed_from_a_checkpoint_equals_an_uninterrupted_run(
    tmp_path: Path, stop: int
) -> None:
    trainer(
        Net(),
        tmp_path,
        GradientNoiseCallback(**NOISE),
        max_steps=stop,
        save_strategy="steps",
        save_steps=stop,
    ).train()
    model, noise = Net(), GradientNoiseCallback(**NOISE)
    trainer(model, tmp_path, noise).train(
        resume_from_checkpoint=str(tmp_path / f"checkpoint-{stop}")
    )
    assert_same_weights(model, by_hand(Net()))
    assert noise.noise is not None
    assert noise.noise.t == 2 * N_BATCHES


def test_the_logs_contain_the_standard_deviation_of_each_update(tmp_path: Path) -> None:
    run = trainer(
        Net(), tmp_path, GradientNoiseCallback(**NOISE, measure_ratio=True), logging_steps=1
    )
    run.train()
    *steps, summary = run.state.log_history
    expected = [annealed(NOISE["eta"], NOISE["gamma"]).std(t) for t in range(2 * N_BATCHES)]
    assert [entry["gradnoise_std"] for entry in steps] == pytest.approx(expected)
    assert all(entry["gradnoise_ratio"] > 0 for entry in steps)
    assert "gradnoise_std" not in summary


def test_a_reporter_logs_the_noise_if_the_callback_is_first(tmp_path: Path) -> None:
    seen = []

    class Reporter(TrainerCallback):
        def on_log(self, *_: Any, **kwargs: Any) -> None:
            seen.append(dict(kwargs["logs"]))

    run = trainer(Net(), tmp_path, Reporter(), logging_steps=1)
    run.callback_handler.callbacks.insert(0, GradientNoiseCallback(**NOISE))
    run.train()
    assert ["gradnoise_std" in logs for logs in seen] == [True] * 2 * N_BATCHES + [False]


def test_the_noise_ends_with_the_run(tmp_path: Path) -> None:
    run = trainer(Net(), tmp_path, GradientNoiseCallback(**NOISE))
    run.train()
    assert_no_noise(run.optimizer)


def test_a_run_that_raised_an_error_leaves_no_noise(tmp_path: Path) -> None:
    """The Trainer does not call callbacks at an error; the next run attaches its noise once."""

    class Fails(Net):
        failing = True

        def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            if self.failing:
                raise OSError("no data")
            return super().forward(inputs, labels)

    model = Fails()
    run = trainer(model, tmp_path, GradientNoiseCallback(**NOISE))
    with pytest.raises(OSError, match="no data"):
        run.train()
    model.failing = False
    run.train()
    assert_same_weights(model, by_hand(Net()))
    assert_no_noise(run.optimizer)


def test_a_callback_survives_pickling_before_and_after_a_run(tmp_path: Path) -> None:
    before = pickle.loads(pickle.dumps(GradientNoiseCallback(**NOISE)))
    for callback in (before, lambda: pickle.loads(pickle.dumps(before))):
        model = Net()
        noise = callback() if callable(callback) else callback
        trainer(model, tmp_path, noise).train()
        assert_same_weights(model, by_hand(Net()))


def assert_no_noise(optimizer: Any) -> None:
    (parameter, *_) = optimizer.param_groups[0]["params"]
    parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert not parameter.grad.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": 1}, "exactly one of process and eta"),
        ({"seed": -1, "eta": 0.1}, "seed must be at least 0"),
        ({"seed": 1, "eta": -0.1}, "eta must be"),
    ],
)
def test_illegal_arguments_raise_an_error_before_training(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        GradientNoiseCallback(**arguments)
