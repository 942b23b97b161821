"""A convolutional network on images, in plain PyTorch."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Subset, TensorDataset, random_split

from gradnoise.workloads import Metric, Trial, function

ACCURACY = Metric(name="accuracy", direction="maximize", worst=0.0, best=1.0)


def datasets() -> list[Subset]:
    """Return 1,000 images for training, 397 for validation and 400 for test."""
    digits = load_digits()
    images = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
    data = TensorDataset(images, torch.tensor(digits.target))
    return random_split(data, [1000, 397, 400], torch.Generator().manual_seed(0))


@torch.no_grad()
def accuracy(model: nn.Module, data: Subset) -> torch.Tensor:
    """Return the share of images that are classified correctly."""
    model.eval()
    images, labels = data[:]
    return (model(images).argmax(1) == labels).float().mean()


@function(name="cnn", metrics=[ACCURACY])
def train(trial: Trial) -> None:
    """Classify handwritten digits with a small convolutional network."""
    training, validation, test = datasets()
    batches = DataLoader(training, batch_size=32, shuffle=True)
    model = nn.Sequential(
        nn.Conv2d(1, 8, kernel_size=3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 4 * 4, 10),
    )
    optimizer = trial.optimizer(model)
    for epoch in range(1, trial.budget_epochs + 1):
        model.train()
        for images, labels in batches:
            loss = functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        trial.report(
            epoch=epoch,
            train_loss=loss.detach(),
            validation_accuracy=accuracy(model, validation),
            test_accuracy=accuracy(model, test),
        )
