"""Trial: what a training function sees of its trial, and what it reports."""

import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gradnoise._hook.optimizers import innermost
from gradnoise._processes import NoiseProcess
from gradnoise.integrations.trials import unpacked
from gradnoise.workloads.base import Metric
from gradnoise.workloads.function_host import Host, Params, checked_name
from gradnoise.workloads.lr_schedules import LR_PARAMETERS, lr_factor, warmup_factor
from gradnoise.workloads.optimizer import Optimizer
from gradnoise.workloads.update_hook import MakeTransforms, UpdateHook

SEEDS = 2**32
"""numpy, scikit-learn and Lightning take seeds below it."""


class Trial:
    """The trial that a training function runs.

    The function runs on the main thread of a process of its own, whose global generators of torch,
    numpy and `random` are seeded with the trial's seed: a function that draws from them gives the
    same result every time.

    Attributes:
        params: Hyperparameters by name: the optimizer's (`lr`, ...), the techniques' and the
            workload's. If the study gives them, clipping (`clip_value`, `clip_norm`) and the
            learning-rate schedule (`lr_schedule`, ...) are among them: the optimizer clips, and the
            function applies the schedule, with `lr_factor`.
        options: An instance of the declared options class.
        optimizer_name: Name of the study's optimizer: `sgd`, `adam`, ...
        seed: At least 0, below 2^32, as numpy, scikit-learn and Lightning need it.
        device: The device to train on.
        arm: Name of the arm.
        phase: `search`, `rerun` or `confirm`.
        number: Counts from 0 within phase and arm.
        budget_epochs: The number of reports; with a budget in epochs, the epochs to train.
        report_every: Updates from one report to the next; None with a budget in epochs.
        with_test: Whether the test split is to be measured; if not, reported test values are
            ignored.
        epoch: Reports so far.
    """

    def __init__(
        self,
        *,
        params: Mapping[str, Any],
        options: Any,
        optimizer: Optimizer,
        seed: int,
        budget_epochs: int,
        report_every: int | None = None,
        with_test: bool,
        metrics: Sequence[Metric],
        process: NoiseProcess | None,
        transforms: MakeTransforms | None = None,
        technique_params: Iterable[str] = (),
        device: torch.device | None = None,
        arm: str = "",
        phase: str = "search",
        number: int = 0,
        host: Host,
    ) -> None:
        self.params = Params(params)
        self.options = options
        self.optimizer_name = optimizer.name
        self.seed = seed % SEEDS
        self.device = device or torch.device("cpu")
        self.arm, self.phase, self.number = arm, phase, number
        self.budget_epochs = budget_epochs
        self.report_every = report_every
        self.with_test = with_test
        self.epoch = 0
        self._optimizer = optimizer
        self._noise_seed = seed
        self._metrics = metrics
        self._process, self._transforms = process, transforms
        self._technique_params = frozenset(technique_params)
        self._host = host
        self._hooks: list[UpdateHook] = []
        self._logged: dict[str, float] = {}
        self._kept = host.kept()
        self._has_path = False
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def budget_steps(self) -> int | None:
        """Updates to train in all; None with a budget in epochs."""
        return None if self.report_every is None else self.budget_epochs * self.report_every

    @property
    def is_last_report(self) -> bool:
        """Whether the next report is the last."""
        return self.epoch + 1 == self.budget_epochs

    def optimizer(self, parameters: Any) -> torch.optim.Optimizer:
        """Return the study's optimizer, with the arm's techniques attached.

        Args:
            parameters: A module, its `named_parameters()`, or what a torch optimizer takes. Named
                parameters keep their noise if a layer is added.

        Raises:
            TypeError, ValueError: As `gradnoise.attach`.
        """
        if isinstance(parameters, torch.nn.Module):
            parameters = parameters.named_parameters()
        for parameter in self._optimizer.parameters:
            self.params.get(parameter.name)
        made = self._optimizer.single(parameters, self._optimizer.hyperparameters(self.params))
        self.attach(made)
        return made

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Attach the arm's techniques and the study's clipping to an optimizer of your own.

        Inside each `optimizer.step()` the arm's techniques transform the gradients, the study's
        `clip_value` and `clip_norm` clip them, and then the arm's noise is added. Attach every
        optimizer of the function once, in every arm, before its first update. Each gets noise of
        its own, so two optimizers never share draws, whatever their parameters are named; its
        clip_norm is over its own parameters.

        Raises:
            ValueError: If the optimizer is attached already, or as `gradnoise.attach`.
            TypeError: As `gradnoise.attach`.
        """
        if self.is_attached(optimizer):
            raise ValueError(
                f"this {type(optimizer).__name__} is attached already: trial.optimizer attaches "
                "the optimizer that it returns, so call trial.attach for no optimizer twice."
            )
        self.params.read.update(self._technique_params & self.params.keys())
        hook = UpdateHook(
            optimizer,
            self._process,
            self._transforms,
            # seeds of trials have 48 bits, so this is the seed of no other trial or optimizer
            seed=self._noise_seed + (len(self._hooks) << 48),
            clip_value=self.params.get("clip_value"),
            clip_norm=self.params.get("clip_norm"),
        )
        self._hooks.append(hook)

    def is_attached(self, optimizer: torch.optim.Optimizer) -> bool:
        """Return whether the arm's techniques are attached to an optimizer."""
        return any(hook.optimizer is innermost(optimizer) for hook in self._hooks)

    def lightning_callbacks(self) -> list[Any]:
        """Return callbacks for Lightning's Trainer, which attach, report and prune.

        They attach the optimizers that are not attached yet, and report what the module logs as
        `<split>_<metric>`. With `ckpt_path=trial.checkpoint_path()` in `fit`, they also keep
        checkpoints. Requires `gradnoise[lightning]`.
        """
        from gradnoise.integrations.lightning_trial import TrialCallback

        return [TrialCallback(self)]

    def transformers_callbacks(self) -> list[Any]:
        """Return callbacks for the Trainer of Transformers, which attach, report and prune.

        They attach the optimizer if it is not attached yet, and report what an evaluation gives as
        `eval_<split>_<metric>`, as it does with `eval_dataset={"validation": ..., "test": ...}`.
        With `resume_from_checkpoint=trial.checkpoint_path()` in `train`, they also keep
        checkpoints. Requires `gradnoise[transformers]`.
        """
        from gradnoise.integrations.transformers_trial import TrialCallback

        return [TrialCallback(self)]

    def checkpoint_path(self) -> str | None:
        """Return the path of the trial's last checkpoint by callbacks; None if it starts anew.

        The callbacks keep checkpoints only if this is called before training. The path is valid
        until the next report.
        """
        self._has_path = True
        if self._kept is None:
            return None
        self._folder = tempfile.TemporaryDirectory()
        return str(unpacked(self._kept["function"], Path(self._folder.name)))

    @property
    def reported_names(self) -> frozenset[str]:
        """The names that every report must give: `<split>_<metric>`."""
        splits = ("validation", "test") if self.with_test else ("validation",)
        return frozenset(f"{split}_{metric.name}" for split in splits for metric in self._metrics)

    @property
    def checkpoint_is_due(self) -> bool:
        """Whether the callbacks would keep a checkpoint now."""
        return self._has_path and self._host.wants_checkpoint()

    def lr_factor(self, epoch: int | None = None, *, step: int | None = None) -> float:
        """Return the factor of the learning rate under the study's schedule, 1 without one.

        Args:
            epoch: The epoch in which the rate is used, counted from 1 as in `report`. Required with
                a budget in epochs.
            step: The update for which the rate is used, counted from 0. Required with a warm-up,
                and with a budget in steps, where the schedule moves on with every step.

        Raises:
            ValueError: If the one that is needed is missing, or either is out of range.
        """
        for parameter in LR_PARAMETERS:
            self.params.get(parameter.name)
        if step is None and (self.report_every or self.params.get("lr_warmup_steps")):
            reason = "a budget in steps" if self.report_every else "lr_warmup_steps"
            raise ValueError(f"step is missing: with {reason} the factor depends on it.")
        if epoch is None and not self.report_every:
            raise ValueError("epoch is missing: the budget is in epochs.")
        if epoch is not None and epoch < 1:
            raise ValueError(f"epoch must be at least 1, but got {epoch=}.")
        if step is not None and step < 0:
            raise ValueError(f"step must be at least 0, but got {step=}.")
        schedule = lr_factor(self.params, self.budget_epochs)
        warmup = 1.0 if step is None else warmup_factor(self.params, step)
        if self.report_every and step is not None:
            return warmup * schedule(step / self.report_every)
        assert epoch is not None
        return warmup * schedule(epoch - 1)

    def log(self, **values: float) -> None:
        """Add numbers to the measurement of the next report, by any name.

        Of a name that is given twice, the last counts. A number that is not finite is left out; it
        does not end the trial.

        Raises:
            TypeError: If a value is not a number.
        """
        self._logged |= {name: _number(name, value) for name, value in values.items()}

    def report(self, *, epoch: int | None = None, step: int | None = None, **values: float) -> None:
        """Report the values measured after an epoch; return when the next epoch may start.

        With a budget in steps, report after every `report_every` updates, with the number of
        updates so far as `step`. If the trial is pruned or cancelled, the call does not return: it
        raises an exception that passes every `except Exception` and runs each `finally`.

        Args:
            epoch: The epoch, counted from 1; every epoch in order.
            step: With a budget in steps, in place of the epoch: report_every, 2 report_every, ...
            values: By `<split>_<metric>`: every declared metric on `validation`, and on `test` if
                `with_test`; others, such as `train_loss`, are optional.

        Raises:
            ValueError: If it is not the next epoch or step, or a declared metric is missing.
            TypeError: If a value is not a number.
            RuntimeError: If the arm's techniques have not reached an update, or the trial was
                resumed and `restore` was not called.
        """
        if self._kept is not None:
            raise RuntimeError(
                "the trial was resumed from a checkpoint: call trial.restore() before the first "
                "report."
            )
        self._check_turn(epoch, step)
        missing = sorted(self.reported_names - values.keys())
        if missing:
            raise ValueError(
                f"report must give every declared metric, but it lacks {', '.join(missing)}."
            )
        self._check_updates()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
        logged = {name: value for name, value in self._logged.items() if math.isfinite(value)}
        reported = {name: _number(name, value) for name, value in values.items()}
        measured = {
            name: value
            for name, value in (self._ratio() | logged | reported).items()
            if self.with_test or not name.startswith("test_")
        }
        self._logged = {}
        self.epoch += 1
        for hook in self._hooks:
            hook.measures = True
        self._host.hand_over(measured, self.conduct())

    def checkpoint(self, state: Mapping[str, Any]) -> None:
        """Offer a state to continue from, after a report; it is written if one is due.

        The state of the arm's noise and of the global generators is kept with it.

        Args:
            state: Tensors, numbers, text, and lists and dicts of them, such as the results of
                `state_dict()`.

        Raises:
            TypeError: If the state holds other objects.
        """
        if self._host.wants_checkpoint():
            hooks = [hook.state() for hook in self._hooks]
            self._host.keep({"epoch": self.epoch, "optimizers": hooks, "function": state})

    def restore(self) -> Any:
        """Return the state of the last checkpoint that was written; None if the trial starts anew.

        Call it once, after all optimizers are attached and everything that draws random numbers at
        the start has been built. `trial.epoch` is then the number of reports before the checkpoint.

        Raises:
            RuntimeError: If other optimizers are attached than at the checkpoint.
        """
        if self._kept is None:
            return None
        kept, self._kept = self._kept, None
        if len(self._hooks) != len(kept["optimizers"]):
            raise RuntimeError(
                f"the checkpoint is of {len(kept['optimizers'])} optimizers, but "
                f"{len(self._hooks)} are attached: call trial.restore() after all are attached."
            )
        for hook, hook_state in zip(self._hooks, kept["optimizers"], strict=True):
            hook.load(hook_state)
        self._host.restore_generators(kept)
        self.epoch = kept["epoch"]
        return kept["function"]

    def save(self, path: str | Path, name: str | None = None) -> None:
        """Keep a copy of a file with the trial, for download.

        It replaces the file of the same name that the trial, or an earlier attempt of it, saved.

        Args:
            path: The file, of at most `GRADNOISE_MAX_FILE_BYTES`; a trial keeps at most 100.
            name: Letters, digits, dots, dashes and underscores; that of the file by default.

        Raises:
            ValueError: If the name is another, the file is too large, or it is one too many.
            OSError: If the file cannot be read, or its copy cannot be written.
        """
        self._host.save(checked_name(Path(path).name if name is None else name), Path(path))

    def conduct(self) -> dict[str, Any]:
        """Return what the function did so far, as JSON values, for the report of the study.

        `optimizers` has the class and the settings of each attached optimizer, `unread` the names
        of the hyperparameters that nothing has read.
        """
        return {
            "optimizers": [hook.settings for hook in self._hooks],
            "unread": sorted(self.params.keys() - self.params.read),
        }

    def _check_turn(self, epoch: int | None, step: int | None) -> None:
        every = self.report_every
        name, given, other = ("epoch", epoch, step) if every is None else ("step", step, epoch)
        if other is not None or given is None:
            raise ValueError(
                f"the study's budget is in {name}s: report({name}=...) must be given, and only "
                f"that, but got {epoch=}, {step=}."
            )
        unit = every or 1
        due, last = (self.epoch + 1) * unit, self.budget_epochs * unit
        if given != due or given > last:
            raise ValueError(f"{name} must be {due}, of {last} in all, but got {name}={given}.")

    def _check_updates(self) -> None:
        if self._process is None and self._transforms is None:
            return
        counts = [hook.t for hook in self._hooks]
        if not any(counts):
            raise RuntimeError(
                "the arm's techniques reached no update: make the optimizer with "
                "trial.optimizer(...), or call trial.attach(optimizer), before its first step()."
            )
        if self.is_last_report and not all(counts):
            raise RuntimeError(
                f"optimizer {counts.index(0) + 1} of {len(counts)} made no update: the optimizer "
                "that steps must be the one that is attached."
            )

    def _ratio(self) -> dict[str, float]:
        """Return the largest `noise_to_gradient` of the optimizers; empty where it is undefined."""
        ratios = [ratio for hook in self._hooks for ratio in hook.noise_to_gradient.values()]
        return {"noise_to_gradient": max(ratios)} if ratios else {}


def _number(name: str, value: object) -> float:
    try:
        # numpy scalars convert too
        return float(value.detach() if isinstance(value, torch.Tensor) else value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, but got {value!r}.") from None
    except OverflowError:
        return math.inf
