"""Runs of Hugging Face's Trainer in a training function whose optimizer is the Trainer's own."""

from pathlib import Path
from typing import Any

import pytest
import torch

from gradnoise import annealed
from open_trial import ERROR, RecordingHost, open_trial

pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from transformers import Trainer, TrainingArguments

pytestmark = pytest.mark.slow
LINES = [{"x": torch.tensor([x]), "labels": torch.tensor([1 - x])} for x in (-1.0, 0.0, 1.0, 2.0)]


class Line(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        y = self.layer(x)
        return {"loss": torch.nn.functional.mse_loss(y, labels), "logits": y}


@pytest.mark.parametrize("every", [None, 3], ids=["in epochs", "in steps"])
def test_the_trainers_optimizer_gets_the_noise_and_evaluations_are_reported(
    tmp_path: Path, every: int | None
) -> None:
    host = RecordingHost()
    trial = open_trial(
        host,
        process=annealed(eta=0.3, gamma=0.55),
        report_every=every,
        with_test=True,
        metrics=[ERROR],
    )
    budget: dict[str, Any] = (
        {"num_train_epochs": 3, "eval_strategy": "epoch"}
        if every is None
        else {"max_steps": trial.budget_steps, "eval_strategy": "steps", "eval_steps": every}
    )
    trainer = Trainer(
        model=Line(),
        args=TrainingArguments(
            output_dir=str(tmp_path),
            per_device_train_batch_size=2,
            logging_strategy="epoch",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            **budget,
        ),
        train_dataset=LINES,
        eval_dataset={"validation": LINES[:2], "test": LINES[2:]},
        compute_metrics=lambda found: {
            "error": float(((found.predictions - found.label_ids) ** 2).mean())
        },
        callbacks=trial.transformers_callbacks(),
    )
    trainer.train()
    assert len(host.reports) == 3
    assert all(report["validation_error"] != report["test_error"] for report in host.reports)
    assert all(report["noise_to_gradient"] > 0 for report in host.reports)
    assert host.reports[-1]["test_error"] == pytest.approx(host.reports[-1]["test_loss"], rel=1e-5)
    assert host.conduct["optimizers"][0]["class"] == "torch.optim.adamw.AdamW"
    assert list(tmp_path.iterdir()) == []  # no checkpoint was asked for
