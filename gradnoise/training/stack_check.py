"""The check whether trials of a form can train as one model."""

import math
import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.func import vmap

from gradnoise.techniques.dropout_layers import dropout_layers
from gradnoise.techniques.functions import Tensors
from gradnoise.training.arm_functions import (
    Hyper,
    averaged,
    averaged_part,
    displacement,
    loss_of,
    transformed,
)
from gradnoise.training.epochs import evaluating, first_batch, open_model
from gradnoise.training.memory import is_out_of_memory
from gradnoise.training.observed import Observed, line_of
from gradnoise.training.randomness import Randomness, are_other_states, global_states, restore
from gradnoise.training.setup import Setup
from gradnoise.training.stacked_functions import StackedFunctions
from gradnoise.training.stacked_run import StackedRun, gradient_of, measure_of
from gradnoise.workloads.base import Workload
from gradnoise.workloads.losses import replaced_by

# relative to the largest number: float32 loses 1e-7 an operation, a wrong gradient is off by its
# whole size
TOLERANCE = 1e-3
ROUNDINGS = 8  # of a result in half precision, each as large as the type's
LOSSES = ("the loss", "the loss of the second update")
MEASURED = " after an evaluation"

Named = Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """What an evaluation of a model and two updates of its buffers give, by name.

    Args:
        loss: Of each update, at the same weights and examples.
        gradients: Of the second.
        functions: What the functions of the techniques return for them.
        buffers: After the evaluation and, each from the initial ones, after the updates.
        metrics: Of the evaluation.
        draw: Where torch drew a random number; empty: nowhere.
        eps: Rounding error of the type with the largest.
        changed: The attributes of modules that were changed.
    """

    loss: Named
    gradients: Mapping[str, torch.Tensor | None]
    functions: Named
    buffers: Named
    metrics: Named
    draw: str = ""
    eps: float = 0.0
    changed: Sequence[str] = ()


def declared_refusal(setup: Setup, workload: Workload) -> str:
    """Return the reason why a trial cannot stack that its parts declare; empty if none does."""
    if not workload.stacks:
        return "its workload declares so."
    if setup.optimizer.stacked is None:
        return f"the optimizer {setup.optimizer.name} has no rule for a stack."
    return ""


def refusal(run: StackedRun) -> str:
    """Return the reason why trials of this form cannot stack, a sentence; empty if they can.

    Loss, gradient, buffers and metrics of two stacked models, and what the techniques' functions
    return, are compared with those of the plain module, with its hooks, under autograd. Exceptions
    of the workload for one model, and exceptions on lack of memory, are raised.
    """
    types = sorted({str(parameter.dtype) for parameter in run.model.parameters()})
    if len(types) > 1:
        return f"its parameters are {' and '.join(types)}, and a stack holds one type."
    if run.weights.is_complex():
        return f"its parameters are {types[0]}, and a stack holds real numbers."
    before = global_states()
    single = _single_results(run)
    if are_other_states(before, global_states()):
        restore(before)
        where = single.draw.removesuffix(": ") or "in numpy or in random"
        return (
            "its loss or its metrics draw random numbers, which the trials of a stack would share: "
            f"{where}."
        )
    if single.changed:
        return (
            f"its loss or its metrics change {' and '.join(single.changed)} of its modules, which "
            "the trials of a stack would share."
        )
    for name, parameter in run.model.named_parameters():
        if not parameter.requires_grad:
            return f"{name} takes no gradient, and a stack would update such a parameter."
    for name, gradient in single.gradients.items():
        if gradient is None:
            return f"{name} takes no part in its loss, and a stack would update such a parameter."
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # of an operation for which vmap would loop over the members
            warnings.filterwarnings("error", message=".*batching rule.*")
            stacked = _stacked_results(run)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return (
            f"torch.func.vmap cannot train it: {line_of(traceback.extract_tb(error.__traceback__))}"
            f"{type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}{_advice(error)}"
        )
    return _difference(single, stacked)


def _single_results(run: StackedRun) -> Results:
    """Return the results of the run's model as a plain module that trains alone."""
    model = _plain_model(run)
    attributes = _attributes(model)
    own_loss = loss_of(run.contribution, run.function_hyper["loss"])
    batch = first_batch(run.workload, run.data)
    observed = Observed()
    initial = _named_buffers(model)
    with torch.no_grad(), evaluating(model), observed:
        metrics = run.workload.measure(model, run.data.validation)
    measured = _named_buffers(model)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name in initial and buffer.shape == initial[name].shape:
                buffer.copy_(initial[name])
    losses: dict[str, torch.Tensor] = {}
    for name in LOSSES:
        model.zero_grad()
        with torch.enable_grad(), replaced_by(own_loss), observed:
            loss = run.workload.loss(model, batch)
            loss.backward()  # type: ignore[no-untyped-call]  # of torch
        losses[name] = loss.detach()
    gradients = {
        name: None if part.grad is None else part.grad.to_dense()
        for name, part in model.named_parameters()
    }
    return Results(
        loss=losses,
        gradients=gradients,
        functions=_function_results(
            run,
            run.function_hyper,
            run.kept,
            {name: part for name, part in gradients.items() if part is not None},
            _weights(run),
        ),
        buffers=_named_buffers(model) | {f"{name}{MEASURED}": x for name, x in measured.items()},
        metrics={
            name: run.weights.new_tensor(float(value), dtype=torch.float64)
            for name, value in metrics.items()
        },
        draw=observed.draw,
        eps=observed.eps,
        changed=sorted(
            name for name, value in _attributes(model).items() if attributes.get(name) != value
        ),
    )


def _stacked_results(run: StackedRun) -> Results:
    """Return the results of the second of two stacked models, which is the run's.

    The first has other numbers, which must not affect the second.
    """
    buffers, measured, gradients = _two(_buffers(run)), _two(_buffers(run)), _two(_weights(run))
    batch = first_batch(run.workload, run.data)
    with evaluating(run.model):
        metrics = measure_of(run)(_two(_weights(run)), measured, run.data.validation)
    functions = StackedFunctions([run, run])
    gradient = gradient_of(run, functions.hyper["loss"])
    losses = {
        name: gradient(
            _two(_weights(run)),
            buffers,
            tuple(torch.stack([part.flip(0), part]) for part in batch),
            gradients,
        )
        for name in LOSSES
    }
    return Results(
        loss=_second(losses),
        gradients=_second(gradients),
        functions=_second(
            vmap(partial(_function_results, run))(
                functions.hyper, functions.kept, gradients, _two(_weights(run))
            )
        ),
        buffers=_second(buffers) | {f"{k}{MEASURED}": x for k, x in _second(measured).items()},
        metrics=_second(metrics),
    )


def _function_results(
    run: StackedRun, hyper: Hyper, kept: Sequence[Tensors], gradient: Tensors, weights: Tensors
) -> Named:
    """Return what each function of the techniques returns for one model, at its first update."""
    contribution, t = run.contribution, run.weights.new_zeros((), dtype=torch.float64)
    results = {}
    if contribution.perturbation is not None:
        results["perturbation"] = displacement(contribution, hyper, gradient, weights, t)
    results["gradient"], states = transformed(contribution, hyper, kept, gradient, weights, t)
    results |= {f"state {k}": state for k, state in enumerate(states)}
    if contribution.average is not None:
        present = averaged_part(weights, run.buffers)
        results["average"] = averaged(contribution, hyper, kept[-1], present, t)
    return {
        f"the {kind} of {name}": tensor
        for kind, tensors in results.items()
        for name, tensor in tensors.items()
    }


def _plain_model(run: StackedRun) -> torch.nn.Module:
    """Return the run's model as a trial that trains alone has it, with masks that drop a half."""
    device = run.weights.device
    model = open_model(run.setup, run.workload, device, Randomness(run.spec.seed)).model
    layers, weights = dropout_layers(model), _weights(run)
    for name, (_, shape) in run.dropped.items():
        layers[name].mask = run.weights.new_full(shape, 0.5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
    return model


def _named_buffers(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: buffer.detach().clone() for name, buffer in model.named_buffers()}


def _attributes(model: torch.nn.Module) -> dict[str, Any]:
    """Return the numbers and texts that are attributes of the model's modules, by name."""
    of_torch = vars(torch.nn.Module())
    return {
        f"{name}.{attribute}".removeprefix("."): value
        for name, module in model.named_modules()
        for attribute, value in vars(module).items()
        if attribute not in of_torch and isinstance(value, int | float | str | None)
    }


def _weights(run: StackedRun) -> dict[str, torch.Tensor]:
    parts = torch.split(run.weights, [shape.numel() for shape in run.shapes.values()])
    return {
        name: part.view(shape).clone()
        for (name, shape), part in zip(run.shapes.items(), parts, strict=True)
    }


def _buffers(run: StackedRun) -> dict[str, torch.Tensor]:
    """Return copies of the buffers, and masks for the layers that drop activations."""
    masks = {
        f"{name}.mask": run.weights.new_full(shape, 0.5) for name, (_, shape) in run.dropped.items()
    }
    return {name: buffer.clone() for name, buffer in run.buffers.items()} | masks


def _two(tensors: Named) -> dict[str, torch.Tensor]:
    return {
        name: torch.stack([tensor / 2 if tensor.is_floating_point() else tensor, tensor])
        for name, tensor in tensors.items()
    }


def _second(tensors: Named) -> dict[str, torch.Tensor]:
    return {name: tensor[1] for name, tensor in tensors.items()}


def _difference(single: Results, stacked: Results) -> str:
    if stacked.metrics.keys() != single.metrics.keys():
        return f"as one model it would give other metrics than alone: {', '.join(stacked.metrics)}."
    rtol = max(TOLERANCE, ROUNDINGS * single.eps)
    for kind in ("loss", "gradients", "functions", "buffers", "metrics"):
        expected: Named = getattr(single, kind)
        found: Named = getattr(stacked, kind)
        sizes = [float(tensor.abs().max()) for tensor in expected.values() if tensor.numel()]
        atol = rtol * max((size for size in sizes if size < math.inf), default=0.0)
        for name, tensor in expected.items():
            other = found.get(name)
            if other is None or other.shape != tensor.shape:
                return f"as one model it would not give {name} as alone."
            if not torch.allclose(
                other.double(), tensor.double(), rtol=rtol, atol=atol, equal_nan=True
            ):
                return f"as one model it would give another value for {name} than alone."
    return ""


def _advice(error: Exception) -> str:
    """Return what to use in place of a fused recurrent network; empty if it is something else."""
    if not any(name in str(error) for name in ("_rnn", "_lstm", "_gru")):
        return ""
    return (
        " gradnoise.workloads.GRU and LSTM have the parameters of torch's and stack, as loops over "
        "the sequence."
    )
