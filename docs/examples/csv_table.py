"""A table from a CSV file, split by scikit-learn, without test data.

The file has a line of names, then a line for each tumour: 30 measurements, and 1 if it is benign.
"""

from importlib import resources

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch.nn import functional

from gradnoise.workloads import Metric, Trial, function

FILE = resources.files("sklearn.datasets.data") / "breast_cancer.csv"
ACCURACY = Metric(name="accuracy", direction="maximize", worst=0.0, best=1.0)
LOSS = Metric(name="loss", direction="minimize", worst=100.0)


@function(name="csv-table", metrics=[ACCURACY, LOSS], has_test=False)
def train(trial: Trial) -> None:
    """Tell benign from malignant tumours by a table of measurements."""
    with FILE.open() as file:
        table = np.loadtxt(file, delimiter=",", skiprows=1, dtype=np.float32)
    training, validation = train_test_split(
        table, test_size=0.3, stratify=table[:, -1], random_state=trial.seed
    )
    scaler = StandardScaler().fit(training[:, :-1])
    x, x_validation = (
        torch.from_numpy(scaler.transform(rows[:, :-1])) for rows in (training, validation)
    )
    y, y_validation = (torch.from_numpy(rows[:, -1:]) for rows in (training, validation))

    model = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], 16), torch.nn.ReLU(), torch.nn.Linear(16, 1)
    )
    optimizer = trial.optimizer(model)
    for epoch in range(1, trial.budget_epochs + 1):
        for rows in torch.randperm(len(x)).split(32):
            loss = functional.binary_cross_entropy_with_logits(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            logits = model(x_validation)
        trial.report(
            epoch=epoch,
            train_loss=loss.detach(),
            validation_accuracy=((logits > 0) == (y_validation > 0)).float().mean(),
            validation_loss=functional.binary_cross_entropy_with_logits(logits, y_validation),
        )
