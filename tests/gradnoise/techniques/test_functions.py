"""The functions on tensors of this package's techniques, against closed forms and torch."""

import math
from typing import Any

import pytest
import torch
from torch.nn import functional

from gradnoise.techniques.contribution import Contribution, combine
from gradnoise.techniques.functions import GradientTransform, TensorFunction, total_norm
from gradnoise.techniques.registry import TECHNIQUES
from gradnoise.workloads import normal

SHAPES = {"weight": (4, 6), "kernel": (3, 2, 2, 5), "bias": (4,), "scalar": ()}
T0 = torch.tensor(0.0, dtype=torch.float64)


def tensors(name: str) -> dict[str, torch.Tensor]:
    return {key: normal(1, name, 0, key, shape).double() for key, shape in SHAPES.items()}


def hyper(function: TensorFunction) -> dict[str, torch.Tensor]:
    return {
        name: torch.tensor(value, dtype=torch.float64) for name, value in function.hyper.items()
    }


def contribution(name: str, **params: float) -> Contribution:
    return TECHNIQUES.find(name).contribution(params)


def transformed(name: str, gradient: Any, weights: Any = None, **params: float) -> Any:
    (transform,) = contribution(name, **params).transforms
    return transform.apply(hyper(transform), gradient, weights, {}, T0)[0]


def test_centralised_gradients_have_mean_zero_over_the_inputs_of_each_unit() -> None:
    gradient = tensors("gradient")
    found = transformed("gradient_centralisation", gradient)
    for name, part in gradient.items():
        assert found[name].shape == part.shape
        if part.dim() < 2:
            assert torch.equal(found[name], part)
            continue
        assert found[name].flatten(1).sum(1).abs().max() < 1e-14
        # only the mean is taken off: differences within a unit stay
        rows, others = found[name].flatten(1), part.flatten(1)
        assert torch.allclose(rows - rows[:, :1], others - others[:, :1], atol=1e-14)


def test_adaptive_clipping_limits_each_unit_apart_from_the_others() -> None:
    """Brock et al. 2021: |g_i| / max(|w_i|, 0.001) is at most the ratio; smaller ones stay."""
    gradient, weights = tensors("gradient"), tensors("weights")
    weights["weight"][2] = 0.0
    gradient["kernel"][1] *= 1e-9
    ratio = 0.5
    found = transformed("adaptive_clipping", gradient, weights, clip_ratio=ratio)
    for name, part in gradient.items():
        units = list(part) if part.dim() > 1 else [part]
        others = list(weights[name]) if part.dim() > 1 else [weights[name]]
        mine = list(found[name]) if part.dim() > 1 else [found[name]]
        for unit, weight, clipped in zip(units, others, mine, strict=True):
            limit = ratio * max(float(weight.norm()), 1e-3)
            factor = min(1.0, limit / float(unit.norm()))
            assert torch.allclose(clipped, unit * factor, rtol=1e-13, atol=0)
    assert math.isclose(float(found["weight"][2].norm()), ratio * 1e-3)
    assert torch.equal(found["kernel"][1], gradient["kernel"][1])


def test_grokfast_adds_the_average_of_the_gradients() -> None:
    """With the same gradient g at every update m_t = (1 - a^(t + 1)) g."""
    (transform,) = contribution("grokfast", amplification=2.0, ema_share=0.9).transforms
    gradient = tensors("gradient")
    state: Any = transform.first_state(tensors("weights"))
    for t in range(5):
        found, state = transform.apply(hyper(transform), gradient, gradient, state, T0 + t)
        for name, part in gradient.items():
            expected = part * (1 + 2 * (1 - 0.9 ** (t + 1)))
            assert torch.allclose(found[name], expected, rtol=1e-13)


def test_sam_moves_the_weights_by_rho_along_the_gradient() -> None:
    """On L = w' A w / 2 the second gradient is A (w + rho A w / |A w|)."""
    perturbation = contribution("sam", rho=0.3).perturbation
    assert perturbation is not None
    matrix, w = torch.diag(torch.tensor([1.0, 5.0, 9.0]).double()), torch.ones(3).double()
    gradient = matrix @ w
    found = perturbation(hyper(perturbation), gradient={"w": gradient}, weights={"w": w}, t=T0)
    second = matrix @ (w + found["w"])
    assert torch.allclose(second, matrix @ (w + 0.3 * gradient / math.sqrt(107)), rtol=1e-12)
    zero = {"w": torch.zeros(3).double()}
    assert torch.equal(
        perturbation(hyper(perturbation), gradient=zero, weights=zero, t=T0)["w"], zero["w"]
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 3)], ids=str)
def test_label_smoothing_is_that_of_torch(shape: tuple[int, ...], smoothing: float) -> None:
    loss = contribution("label_smoothing", smoothing=smoothing).loss
    assert loss is not None
    logits = normal(1, "logits", 0, "", shape).double()
    targets = normal(1, "targets", 0, "", (shape[0], *shape[2:])).abs().long() % 5
    expected = functional.cross_entropy(
        logits, targets, label_smoothing=smoothing, reduction="none"
    )
    found = loss(hyper(loss), logits=logits, targets=targets)
    assert torch.allclose(found, expected, rtol=1e-13, atol=1e-15)


def test_the_average_is_the_mean_until_it_forgets() -> None:
    """Until 1 / (1 - decay) updates it is the mean of the weights, afterwards it is exponential."""
    average = contribution("ema", ema_decay=0.75).average
    assert average is not None
    weights = [tensors(f"weights {t}") for t in range(9)]
    found: Any = tensors("initial")
    for t, latest in enumerate(weights):
        before = found
        found = average(hyper(average), average=found, weights=latest, t=T0 + t)
        for name in SHAPES:
            mean = torch.stack([each[name] for each in weights[: t + 1]]).mean(0)
            expected = mean if t < 4 else 0.75 * before[name] + 0.25 * latest[name]
            assert torch.allclose(found[name], expected, rtol=1e-13, atol=1e-15)


def test_the_norm_is_that_of_all_tensors_together() -> None:
    gradient = tensors("gradient")
    whole = torch.cat([part.reshape(-1) for part in gradient.values()])
    assert math.isclose(float(total_norm(gradient)), float(whole.norm()), rel_tol=1e-14)


def test_transformations_follow_each_other_in_the_order_of_the_techniques() -> None:
    first, second = contribution("gradient_centralisation"), contribution("adaptive_clipping")
    names = [each.function.__name__ for each in combine([first, second]).transforms]
    assert names == ["gradient_centralisation", "adaptive_clipping"]
    assert combine([second, first]).structure != combine([first, second]).structure


@pytest.mark.parametrize(("name", "kind"), [("sam", "perturbation"), ("ema", "average")])
def test_two_of_a_kind_are_refused(name: str, kind: str) -> None:
    both = [contribution(name, **{"ema_decay": 0.9} if name == "ema" else {})] * 2
    with pytest.raises(
        ValueError, match=f"a trial has at most one {kind}, but got {name} and {name}"
    ):
        combine(both)


def test_a_transformation_that_loses_a_tensor_is_refused_with_the_names() -> None:
    lossy = GradientTransform(function=lambda gradient: {"bias": gradient["bias"]})
    with pytest.raises(
        ValueError, match=r"must return a gradient with the names weight, kernel, .*, but got bias"
    ):
        lossy.apply({}, tensors("gradient"), {}, {}, T0)
