"""A fully connected network in Accelerate, with accumulated gradients."""

import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset, random_split

from gradnoise.workloads import Metric, Trial, function

ACCURACY = Metric(name="accuracy", direction="maximize", worst=0.0, best=1.0)


@function(name="accelerate-mlp", metrics=[ACCURACY])
def train(trial: Trial) -> None:
    """Classify handwritten digits with a fully connected network."""
    digits = load_digits()
    images = torch.tensor(digits.data / 16, dtype=torch.float32)
    data = TensorDataset(images, torch.tensor(digits.target))
    splits = random_split(data, [1000, 397, 400], torch.Generator().manual_seed(0))
    accelerator = Accelerator(gradient_accumulation_steps=2, cpu=trial.device.type == "cpu")
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    training, validation, test = (
        DataLoader(split, batch_size=20, shuffle=split is splits[0]) for split in splits
    )
    model, optimizer, training, validation, test = accelerator.prepare(
        model, trial.optimizer(model), training, validation, test
    )

    @torch.no_grad()
    def accuracy(batches: DataLoader) -> torch.Tensor:
        correct = [model(inputs).argmax(1) == labels for inputs, labels in batches]
        return torch.cat(correct).float().mean()

    for epoch in range(1, trial.budget_epochs + 1):
        for inputs, labels in training:
            with accelerator.accumulate(model):
                loss = functional.cross_entropy(model(inputs), labels)
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
        trial.report(
            epoch=epoch,
            train_loss=loss.detach(),
            validation_accuracy=accuracy(validation),
            test_accuracy=accuracy(test),
        )
