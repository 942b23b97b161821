"""The trial of a training function in Transformers; made by `Trial.transformers_callbacks`.

Requires `gradnoise[transformers]`.
"""

from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gradnoise.integrations.trials import RunningTrial, packed, report

SPEEDS = ("_runtime", "_samples_per_second", "_steps_per_second")
"""The ends of the names of values that differ between equal trials."""


class TrialCallback(TrainerCallback):
    """A callback that attaches the arm's techniques, reports, and offers checkpoints.

    It reports after each evaluation, without the prefix `eval_` of the Trainer's names and without
    its values of speed. Where `eval_dataset` has several data sets, it reports when the metrics of
    all reported splits are there. The training loss that the Trainer logs is reported as
    `train_loss`.

    Args:
        trial: The trial.
    """

    def __init__(self, trial: RunningTrial) -> None:
        self._trial = trial
        self._values: dict[str, Any] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not self._trial.is_attached(kwargs["optimizer"]):
            self._trial.attach(kwargs["optimizer"])
        restored = self._trial.restore()
        if restored is not None:
            # of some models, such as ViT, the Trainer saves weights by names that it does not load
            kwargs["model"].load_state_dict(restored["model"])

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if "loss" in kwargs["logs"]:
            self._trial.log(train_loss=kwargs["logs"]["loss"])

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._values |= {
            name.removeprefix("eval_"): value
            for name, value in kwargs["metrics"].items()
            if name.startswith("eval_") and not name.endswith(SPEEDS)
        }
        if self._trial.reported_names <= self._values.keys():
            values, self._values = self._values, {}
            report(self._trial, state.global_step, values)
            if self._trial.checkpoint_is_due:
                control.should_save = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._trial.checkpoint_is_due and not self._values:
            folder = Path(str(args.output_dir), f"checkpoint-{state.global_step}")
            weights = {"model": kwargs["model"].state_dict()}
            self._trial.checkpoint(packed(folder) | weights)
