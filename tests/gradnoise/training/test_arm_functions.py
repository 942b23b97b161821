"""What an update does with the functions of techniques, against a training loop in plain torch."""

from collections.abc import Iterator

import pytest
import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy

import gradnoise
from gradnoise.techniques.functions import Tensors, total_norm
from gradnoise.techniques.registry import TECHNIQUES
from gradnoise.testing import reference
from gradnoise.training.epochs import epoch_order
from gradnoise.training.setup import prepare
from gradnoise.training.single import SingleRun, SingleTrainer
from gradnoise.training.stack import StackTrainer
from gradnoise.training.stacked_run import StackedRun
from gradnoise.training.trainer import Trainer
from gradnoise.training.trial import Failed, TrialSpec
from gradnoise.workloads import Workload
from gradnoise.workloads.registry import WORKLOADS
from trial_runs import curve, run, spec

TECHNIQUES_OF_ALL = (
    "gradient_centralisation",
    "annealed",
    "sam",
    "adaptive_clipping",
    "label_smoothing",
    "ema",
)
ETA, LR, MOMENTUM, DECAY, CLIP, RHO, RATIO, SMOOTHING, EMA = 1e-4, 0.05, 0.9, 0.1, 0.4, 0.1, 0.3, 0.2, 0.8  # fmt: skip  # noqa: E501
PARAMS = {
    "lr": LR,
    "momentum": MOMENTUM,
    "weight_decay": DECAY,
    "clip_norm": CLIP,
    "eta": ETA,
    "gamma": 0.55,
    "rho": RHO,
    "clip_ratio": RATIO,
    "smoothing": SMOOTHING,
    "ema_decay": EMA,
}


@pytest.fixture(autouse=True)
def _references() -> Iterator[None]:
    with WORKLOADS.including(reference.Reference, reference.Classes):
        yield


def everything() -> TrialSpec:
    return spec(workload=reference.CLASSES, techniques=TECHNIQUES_OF_ALL, params=PARAMS)


def by_hand(trial: TrialSpec, workload: Workload) -> list[dict[str, float]]:
    """Train in the documented order: perturb, transform, clip, add noise, update, average."""
    model, splits = workload.model().train(), workload.data()
    workload.initialise(model, trial.seed)
    optimizer = torch.optim.SGD(
        model.named_parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY
    )
    gradnoise.attach(optimizer, eta=ETA, gamma=0.55, seed=trial.seed)
    average = {name: torch.zeros_like(weight) for name, weight in model.named_parameters()}
    curve, t = [], 0
    for epoch in range(trial.budget_epochs):
        losses = []
        for rows in epoch_order(workload, trial, epoch):
            inputs, classes = (part[rows] for part in splits.train)
            loss = cross_entropy(model(inputs), classes, label_smoothing=SMOOTHING)
            losses.append(float(loss.detach()))
            weights = list(model.parameters())
            gradients = torch.autograd.grad(loss, weights)
            norm = torch.cat([part.flatten() for part in gradients]).norm()
            moved = {
                name: (weight + RHO * part / norm).detach().requires_grad_()
                for (name, weight), part in zip(model.named_parameters(), gradients, strict=True)
            }
            logits = functional_call(model, moved, (inputs,))
            loss = cross_entropy(logits, classes, label_smoothing=SMOOTHING)
            second = torch.autograd.grad(loss, list(moved.values()))
            for weight, part in zip(weights, second, strict=True):
                centred = part - part.mean(1, keepdim=True) if part.dim() == 2 else part
                units = (weight.detach(), centred)
                size, of_unit = (
                    unit.norm(dim=1, keepdim=True) if part.dim() == 2 else unit.norm()
                    for unit in units
                )
                weight.grad = centred * (RATIO * size.clamp(min=1e-3) / of_unit).clamp(max=1)
            torch.nn.utils.clip_grad_norm_(weights, CLIP)
            optimizer.step()
            keep = min(EMA, t / (t + 1))
            for name, weight in model.named_parameters():
                average[name] = keep * average[name] + (1 - keep) * weight.detach()
            t += 1
        logits = functional_call(model, average, (splits.validation[0],))
        error = float(cross_entropy(logits, splits.validation[1]).detach())
        curve.append({"train_loss": sum(losses) / len(losses), "validation_error": error})
    return curve


@pytest.mark.parametrize("opened", [SingleTrainer, StackTrainer])
def test_an_arm_of_all_kinds_of_functions_trains_as_by_hand(opened: type[SingleTrainer]) -> None:
    """In float64 a dozen updates round to about 1e-14; another order changes the second digit."""
    trial = everything()
    expected = by_hand(trial, reference.Classes())
    for found, values in zip(curve(run(opened(2), trial)), expected, strict=True):
        assert {name: found[name] for name in values} == pytest.approx(values, rel=1e-11)


def test_arms_with_different_functions_train_side_by_side() -> None:
    """They do not stack with each other, and each has the results that it has alone."""
    arms = {
        name: spec(name, workload=reference.CLASSES, techniques=(name,), params={"lr": 0.05})
        for name in (*TECHNIQUES_OF_ALL[2:], "grokfast", "none")
    }
    events = run(StackTrainer(8), *arms.values())
    for name, trial in arms.items():
        alone = curve(run(SingleTrainer(1), trial), name)
        for found, values in zip(curve(events, name), alone, strict=True):
            assert found == pytest.approx(values, rel=1e-11)
    assert len({str(curve(events, name)) for name in arms}) == len(arms)


@pytest.mark.usefixtures("probes")
@pytest.mark.parametrize("opened", [SingleRun, StackedRun])
def test_the_second_gradient_does_not_count_in_the_statistics_of_batchnorm(
    opened: type[SingleRun] | type[StackedRun],
) -> None:
    def buffers(*techniques: str) -> dict[str, torch.Tensor]:
        trial = spec(workload="normed", techniques=techniques, params={"lr": 1e-300, "rate": 0.2})
        trainer: Trainer = SingleTrainer(1) if opened is SingleRun else StackTrainer(2)
        trainer.admit(trial)
        trainer.advance()
        member = trainer._members["a"].run  # type: ignore[attr-defined]
        assert isinstance(member, opened)
        found: dict[str, torch.Tensor] = member.state()["buffers"]
        return {name: buffer.clone() for name, buffer in found.items()}

    plain, perturbed = buffers("dropout"), buffers("dropout", "sam")
    assert int(perturbed["1.0.num_batches_tracked"]) == 3
    for name, buffer in plain.items():
        assert torch.allclose(perturbed[name].double(), buffer.double(), rtol=1e-12), name


def test_a_loss_that_techniques_cannot_replace_is_refused_by_name() -> None:
    class Own(reference.Classes):
        name = "own"

        def loss(self, forward, batch):  # type: ignore[no-untyped-def]
            return cross_entropy(forward(batch[0]), batch[1])

    trial = spec(workload="own", techniques=("label_smoothing",))
    with WORKLOADS.including(Own):
        for trainer in (SingleTrainer(1), StackTrainer(2)):
            (event,) = run(trainer, trial)
            assert isinstance(event, Failed)
            assert "the workload's loss does not call gradnoise.workloads.cross_entropy" in (
                event.summary
            )
    with pytest.raises(ValueError, match=r"techniques must be among .* got 'label_smoothing'"):
        prepare(spec(workload=reference.NAME, techniques=("label_smoothing",)))


@gradnoise.technique(on="gradient")
def branching(gradient: Tensors) -> Tensors:
    """Halve large gradients, by a branch on a value."""
    if float(total_norm(gradient)) > 0.5:
        return {name: part / 2 for name, part in gradient.items()}
    return gradient


def test_a_function_that_cannot_stack_trains_alone_and_is_named_with_its_line() -> None:
    trial = spec(workload=reference.NAME, techniques=("branching",))
    stack = StackTrainer(2)
    with TECHNIQUES.including(branching):
        found = curve(run(stack, trial))
        assert found == curve(run(SingleTrainer(1), trial))
    (reason,) = stack.refusals.values()
    assert "at test_arm_functions.py:" in reason
    assert "`if float(total_norm(gradient)) > 0.5:`" in reason


@pytest.mark.usefixtures("probes")
@pytest.mark.parametrize(
    ("workload", "techniques", "message"),
    [
        ("exact", ("ema",), "a trial cannot use it with ema"),
        ("counting", (), "counting is a training function, which measures its metrics itself"),
    ],
)
def test_an_average_of_the_optimizer_is_refused_where_it_has_no_place(
    workload: str, techniques: tuple[str, ...], message: str
) -> None:
    trial = spec(workload=workload, techniques=techniques, optimizer="schedule_free_adamw")
    with pytest.raises(ValueError, match=f"measures metrics at an average of its own: {message}"):
        prepare(trial)
