"""The next epoch of the members of a stack: what differs between them, as tables."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from gradnoise._processes import NoiseProcess
from gradnoise._processes.preconditioned import RootMeanSquare
from gradnoise._processes.process import IndependentTerms, Terms
from gradnoise._processes.schedules import ConstantStd
from gradnoise.training.epochs import epoch_steps
from gradnoise.training.noise_terms import NoiseTerms
from gradnoise.training.stacked_run import StackedRun


@dataclass(frozen=True, eq=False)
class StackedEpoch:
    """The next epoch of some runs of equal form.

    Epochs of equal `kind` can use the same StackedModel.

    Args:
        members: The runs.
        n_rows: At least as many; the rows beyond them train copies of the first run, whose results
            are ignored.
    """

    members: Sequence[StackedRun]
    n_rows: int

    @cached_property
    def runs(self) -> list[StackedRun]:
        """The run of each row."""
        return [*self.members, *[self.members[0]] * (self.n_rows - len(self.members))]

    @cached_property
    def n_steps(self) -> int:
        """Updates in the epoch."""
        return epoch_steps(self.runs[0].workload, self.runs[0].spec)

    @cached_property
    def on_weights(self) -> NoiseTerms | None:
        """The noise on the weights."""

        def terms(run: StackedRun) -> Terms | None:
            process = run.contribution.weights
            return None if process is None else process.terms

        return NoiseTerms.of(self.n_steps, self.runs, _t, lambda run: run.weight_noise, terms)

    @cached_property
    def on_activations(self) -> NoiseTerms | None:
        """The normal numbers from which masks are made."""

        def terms(run: StackedRun) -> Terms | None:
            return IndependentTerms(ConstantStd(1.0)) if run.dropped else None

        return NoiseTerms.of(
            self.n_steps, self.runs, _t, lambda run: run.mask_noise(self.dropped), terms
        )

    @cached_property
    def on_gradients(self) -> NoiseTerms | None:
        """The noise on the gradients that has no preconditioner."""

        def terms(run: StackedRun) -> Terms | None:
            process = run.contribution.gradient
            if process is None or process.preconditioner is not None:
                return None
            return process.terms

        return NoiseTerms.of(self.n_steps, self.runs, _t, lambda run: run.gradient_noise, terms)

    @cached_property
    def preconditioned(self) -> list[tuple[int, StackedRun, NoiseProcess]]:
        """The members whose gradient noise has a preconditioner, each with its row and noise."""
        return [
            (k, run, run.contribution.gradient)
            for k, run in enumerate(self.members)
            if run.contribution.gradient is not None
            and run.contribution.gradient.preconditioner is not None
        ]

    @cached_property
    def on_preconditioned(self) -> NoiseTerms | None:
        """The noise of `preconditioned`, for a GPU; None if its kernel lacks a preconditioner."""
        rules = {
            k: process.preconditioner
            for k, run in enumerate(self.runs)
            if (process := run.contribution.gradient) is not None and process.preconditioner
        }

        def terms(run: StackedRun) -> Terms | None:
            process = run.contribution.gradient
            return process.terms if process is not None and process.preconditioner else None

        found = NoiseTerms.of(self.n_steps, self.runs, _t, lambda run: run.gradient_noise, terms)
        if found is None:
            return None
        numbers = np.zeros((len(found.ts), 4, len(self.runs)))
        for k, rule in rules.items():
            if not isinstance(rule, RootMeanSquare):
                return None
            # only the first term of an update updates the mean squares
            numbers[:, :, k] = (1.0, 0.0, rule.damping, 1.0)
            numbers[0, :2, k] = (rule.decay, 1 - rule.decay)
        return replace(found, rules=numbers)

    @cached_property
    def dropped(self) -> dict[str, torch.Size]:
        """The layers at which some member drops activations, and the shape there."""
        return {name: shape for run in self.runs for name, (_, shape) in run.dropped.items()}

    @cached_property
    def hyper(self) -> tuple[str, ...]:
        """The hyperparameters that are not 0 for every member."""
        return tuple(
            name for name in self.runs[0].hyper if any(run.hyper[name] for run in self.runs)
        )

    @cached_property
    def clips(self) -> tuple[str, ...]:
        """The kinds of clipping that some member uses."""
        return tuple(
            clip
            for clip in ("clip_value", "clip_norm")
            if any(getattr(run, clip) < math.inf for run in self.runs)
        )

    @cached_property
    def rates(self) -> torch.Tensor | None:
        """The learning rate of each update and run, [updates, runs]; None if it is constant."""
        if not any(run.setup.has_warmup for run in self.runs):
            return None
        rates = [
            run.hyper["lr"] * run.setup.rate_factors(run.epoch, range(run.t, run.t + self.n_steps))
            for run in self.runs
        ]
        return torch.from_numpy(np.stack(rates, axis=1))

    @property
    def kind(self) -> Hashable:
        """Everything that the buffers and the operations of an update depend on."""
        n_terms = tuple(
            len(terms.ts) if terms else 0
            for terms in (
                self.on_weights,
                self.on_activations,
                self.on_gradients,
                self.on_preconditioned,
            )
        )
        return (
            self.runs[0].form,
            len(self.runs),
            n_terms,
            tuple(self.dropped),
            bool(self.preconditioned),
            self.hyper,
            self.clips,
            self.rates is None,
        )


def _t(run: StackedRun) -> int:
    return run.t
