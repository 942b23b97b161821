"""A convolutional network in Lightning."""

import lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset, random_split

from gradnoise.workloads import Metric, Trial, function

ACCURACY = Metric(name="accuracy", direction="maximize", worst=0.0, best=1.0)


class Classifier(lightning.LightningModule):
    def __init__(self, trial: Trial) -> None:
        super().__init__()
        self.trial = trial
        layers = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
        self.network = nn.Sequential(*layers, nn.Linear(8 * 4 * 4, 10))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.trial.optimizer(self)

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        images, labels = batch
        loss = functional.cross_entropy(self.network(images), labels)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: list[torch.Tensor], _: int, dataloader_idx: int) -> None:
        images, labels = batch
        accuracy = (self.network(images).argmax(1) == labels).float().mean()
        split = ("validation", "test")[dataloader_idx]
        self.log(f"{split}_accuracy", accuracy, add_dataloader_idx=False)


@function(name="lightning-cnn", metrics=[ACCURACY])
def train(trial: Trial) -> None:
    """Classify handwritten digits with a small convolutional network."""
    digits = load_digits()
    images = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
    data = TensorDataset(images, torch.tensor(digits.target))
    splits = random_split(data, [1000, 397, 400], torch.Generator().manual_seed(0))
    training, validation, test = (
        DataLoader(split, 50, shuffle=split is splits[0], num_workers=0) for split in splits
    )
    trainer = lightning.Trainer(
        max_epochs=trial.budget_epochs,
        callbacks=trial.lightning_callbacks(),
        accelerator="auto" if trial.device.type == "cuda" else "cpu",
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Classifier(trial), training, [validation, test], ckpt_path=trial.checkpoint_path())
