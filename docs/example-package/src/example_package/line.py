"""A workload as a training function: fit a line."""

import torch

from gradnoise.workloads import Metric, Trial, function


@function(
    name="line",
    description="Fits a line to noisy points, in a training loop of its own.",
    metrics=[
        Metric(name="error", direction="minimize", worst=100.0, description="Mean squared error.")
    ],
)
def train(trial: Trial) -> None:
    """Train for `trial.budget_epochs` epochs and report each one."""
    x = torch.linspace(-1, 1, 96)[:, None]
    y = 3 * x - 1 + 0.1 * torch.sin(50 * x)
    model = torch.nn.Linear(1, 1)
    optimizer = trial.optimizer(model)
    state = trial.restore()
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    for epoch in range(trial.epoch + 1, trial.budget_epochs + 1):
        for group in optimizer.param_groups:
            group["lr"] = trial.params["lr"] * trial.lr_factor(epoch)
        for rows in torch.randperm(32).split(8):
            loss = torch.nn.functional.mse_loss(model(x[::3][rows]), y[::3][rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            validation, test = (
                torch.nn.functional.mse_loss(model(x[k::3]), y[k::3]) for k in (1, 2)
            )
        trial.report(
            epoch=epoch, train_loss=loss.detach(), validation_error=validation, test_error=test
        )
        trial.checkpoint({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
