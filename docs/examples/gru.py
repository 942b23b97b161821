"""A recurrent network that reads images line by line, in plain PyTorch."""

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional

from gradnoise.workloads import Metric, Trial, function

ACCURACY = Metric(name="accuracy", direction="maximize", worst=0.0, best=1.0)


class Reader(nn.Module):
    """A GRU over the 8 lines of an image, and a linear layer on its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(input_size=8, hidden_size=32, batch_first=True)
        self.output = nn.Linear(32, 10)

    def forward(self, lines: torch.Tensor) -> torch.Tensor:
        _, last = self.gru(lines)
        return self.output(last[0])


@function(name="gru", metrics=[ACCURACY])
def train(trial: Trial) -> None:
    """Classify handwritten digits, read as sequences of lines, with a GRU."""
    digits = load_digits()
    images = torch.tensor(digits.images / 16, dtype=torch.float32)
    labels = torch.tensor(digits.target)
    rest, test = train_test_split(range(len(images)), test_size=400, random_state=0)
    training, validation = train_test_split(rest, test_size=397, random_state=0)
    model = Reader()
    optimizer = trial.optimizer(model)
    for epoch in range(1, trial.budget_epochs + 1):
        for batch in torch.tensor(training)[torch.randperm(len(training))].split(32):
            loss = functional.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            correct = (model(images).argmax(1) == labels).float()
        trial.report(
            epoch=epoch,
            train_loss=loss.detach(),
            validation_accuracy=correct[validation].mean(),
            test_accuracy=correct[test].mean(),
        )
