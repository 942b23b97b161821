"""Fits of Lightning in a training function whose optimizer is its own."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from gradnoise import annealed, attach
from open_trial import ERROR, RecordingHost, open_trial

pytest.importorskip("lightning")

from lightning.pytorch import LightningModule, Trainer

pytestmark = [
    # few workers, few batches
    pytest.mark.filterwarnings("ignore::lightning.pytorch.utilities.warnings.PossibleUserWarning"),
    # Lightning's own use of torch
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated:FutureWarning"),
    pytest.mark.slow,
]
NOISE = annealed(eta=0.3, gamma=0.55)
DATA = TensorDataset(torch.linspace(-1, 1, 24)[:, None], torch.linspace(1, -1, 24)[:, None])
N_BATCHES = 6


class Line(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        torch.nn.init.ones_(self.layer.weight)
        torch.nn.init.zeros_(self.layer.bias)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def loss(self, batch: list[torch.Tensor]) -> torch.Tensor:
        x, y = batch
        return torch.nn.functional.mse_loss(self.layer(x), y)

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: list[torch.Tensor]) -> None:
        self.log("validation_error", self.loss(batch))


def errors_by_hand(reports: int, every: int) -> list[float]:
    """Return the errors of a plain loop, each after so many updates."""
    model, errors = Line(), []
    optimizer = model.configure_optimizers()
    attach(optimizer, NOISE, seed=1)
    batches = list(DataLoader(DATA, batch_size=4))
    for step in range(reports * every):
        optimizer.zero_grad()
        model.loss(batches[step % N_BATCHES]).backward()
        optimizer.step()
        if (step + 1) % every == 0:
            with torch.no_grad():
                errors.append(float(model.loss(list(DATA[:]))))
    return errors


@pytest.mark.parametrize("every", [None, 4], ids=["in epochs", "in steps"])
def test_an_optimizer_of_its_own_gets_the_noise_and_its_errors_are_reported(
    tmp_path: Path, every: int | None
) -> None:
    host = RecordingHost()
    trial = open_trial(host, process=NOISE, report_every=every, metrics=[ERROR])
    budget: dict[str, Any] = (
        {"max_epochs": trial.budget_epochs}
        if every is None
        else {
            "max_steps": trial.budget_steps,
            "val_check_interval": every,
            "check_val_every_n_epoch": None,
        }
    )
    trainer = Trainer(
        default_root_dir=tmp_path,
        callbacks=trial.lightning_callbacks(),
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **budget,
    )
    trainer.fit(Line(), DataLoader(DATA, batch_size=4), DataLoader(DATA, batch_size=24))
    found = [report["validation_error"] for report in host.reports]
    assert found == pytest.approx(errors_by_hand(3, every or N_BATCHES))
    assert host.conduct["optimizers"][0]["class"] == "torch.optim.sgd.SGD"
    assert host.checkpoints == []  # the function did not ask for the path of one
