"""A Transformer encoder: warm-up by step, accumulated gradients, and autocast to bfloat16."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from gradnoise.workloads import Metric, Trial, function

ACCURACY = Metric(name="accuracy", direction="maximize", worst=0.0, best=1.0)
BATCH, PARTS = 32, 2  # the gradient of a batch is accumulated over two parts


class Encoder(nn.Module):
    """Two encoder layers over the 8 lines of an image, each a token."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.place = nn.Parameter(0.1 * torch.randn(8, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.1, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, num_layers=2)
        self.output = nn.Linear(width, 10)

    def forward(self, lines: torch.Tensor) -> torch.Tensor:
        return self.output(self.layers(self.embed(lines) + self.place).mean(1))


@function(name="transformer", metrics=[ACCURACY])
def train(trial: Trial) -> None:
    """Classify handwritten digits, read as sequences of lines, with a Transformer encoder."""
    digits = load_digits()
    images = torch.tensor(digits.images / 16, dtype=torch.float32)
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    training, validation, test = order.split([1000, 397, 400])
    model, step = Encoder(), 0
    optimizer = trial.optimizer(model)
    for epoch in range(1, trial.budget_epochs + 1):
        model.train()
        for batch in training[torch.randperm(len(training))].split(BATCH):
            optimizer.param_groups[0]["lr"] = trial.params["lr"] * trial.lr_factor(epoch, step=step)
            optimizer.zero_grad()
            for part in batch.chunk(PARTS):
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    loss = functional.cross_entropy(model(images[part]), labels[part]) / PARTS
                loss.backward()
            optimizer.step()
            step += 1
        model.eval()
        with torch.no_grad():
            correct = (model(images).argmax(1) == labels).float()
        splits = {"validation_accuracy": validation, "test_accuracy": test}
        trial.report(epoch=epoch, **{name: correct[rows].mean() for name, rows in splits.items()})
