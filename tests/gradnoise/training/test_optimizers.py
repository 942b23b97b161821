from collections.abc import Mapping

import pytest
import torch
from torch.nn import Parameter

from gradnoise.streams import normal
from gradnoise.training.optimizers import OPTIMIZERS, optimizer

MEMBERS = {
    "sgd": [
        {"lr": 0.1},
        {"lr": 0.03, "momentum": 0.9},
        {"lr": 0.3, "weight_decay": 0.1},
        {"lr": 0.01, "momentum": 0.5, "weight_decay": 0.2},
    ],
    "adam": [{"lr": 0.1}, {"lr": 0.03, "beta1": 0.5}, {"lr": 0.3, "weight_decay": 0.1}, {"lr": 0.01, "beta1": 0.0, "weight_decay": 0.2}],
}


@pytest.mark.parametrize("name", MEMBERS)
def test_the_stacked_rule_is_torchs_for_each_member(name: str) -> None:
    """In float64 over 50 updates, members starting 0 to 3 updates apart: the two ways differ by rounding, some 50 x 2^-53 of a weight."""
    rule = OPTIMIZERS[name]
    members = [rule.hyperparameters(params) for params in MEMBERS[name]]
    weights = torch.stack([normal(k, "init", 0, "w", (6,)).double() for k in range(len(members))])
    moments = [torch.zeros_like(weights) for _ in range(rule.n_moments)]
    alone = [Parameter(row.clone()) for row in weights]
    optimizers = [rule.single([("w", weight)], hyper) for weight, hyper in zip(alone, members, strict=True)]
    for t in range(50):
        entered = [k for k in range(len(members)) if t >= k]
        rows = weights[entered], [moment[entered] for moment in moments]
        gradients = torch.stack([normal(9, "gradient", t, str(k), (6,)).double() for k in entered])
        for k, gradient in zip(entered, gradients.clone(), strict=True):
            alone[k].grad = gradient
            optimizers[k].step()
        columns: Mapping[str, torch.Tensor] = {
            key: torch.tensor([members[k][key] for k in entered], dtype=torch.float64)[:, None] for key in members[0]
        }
        rule.stacked(rows[0], gradients, rows[1], columns, torch.tensor([[t - k] for k in entered], dtype=torch.float64))
        weights[entered] = rows[0]
        for moment, changed in zip(moments, rows[1], strict=True):
            moment[entered] = changed
    torch.testing.assert_close(weights, torch.stack([weight.detach() for weight in alone]), rtol=1e-12, atol=1e-12)


def test_missing_hyperparameters_take_their_declared_defaults() -> None:
    assert OPTIMIZERS["sgd"].hyperparameters({"lr": 1, "eta": 2, "clip_norm": 3}) == {"lr": 1.0, "momentum": 0.0, "weight_decay": 0.0}
    assert OPTIMIZERS["adam"].hyperparameters({"lr": 1}) == {"lr": 1.0, "beta1": 0.9, "weight_decay": 0.0}


def test_an_unknown_optimizer_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no optimizer named 'sdg'; legal are sgd, adam"):
        optimizer("sdg")
