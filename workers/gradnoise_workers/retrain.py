"""Trains trials again for `gradnoise verify`: `python -m gradnoise_workers.retrain`."""

import math
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

from gradnoise.training import open_trainer
from gradnoise.training.trial import Failed, Measurement, Printed, Saved, TrialSpec
from gradnoise.workloads.registry import WORKLOADS
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.source import Source
from gradnoise_service.domain.spec import StudySpec
from gradnoise_workers.code_hash import code_hash
from gradnoise_workers.launcher import trial_spec
from gradnoise_workers.source import opened
from gradnoise_workers.source.answering import answer_request


def retrained(request: Mapping[str, Any]) -> Iterator[Mapping[str, object]]:
    """Yield the hash of the code, and what the trials measure, epoch by epoch.

    Args:
        request: `spec`, `source` (None for an installed workload), `slots`, `together` (by phase
            and arm, the most trials that train as one model) and `trials`; each trial has an `id`,
            what determines its training, and `epochs`: the last epoch to train.

    Raises:
        SourceError: If the source cannot be imported.
    """
    spec = StudySpec.model_validate(request["spec"])
    source = None if request["source"] is None else Source(**request["source"])
    with nullcontext() if source is None else opened(source):
        WORKLOADS.installed()  # imports the packages
        yield {"code": code_hash(spec, source)}
        yield from _values(spec, request)


def _values(spec: StudySpec, request: Mapping[str, Any]) -> Iterator[dict[str, object]]:
    trainer = open_trainer(request["slots"])
    waiting = list(reversed(request["trials"]))
    running: dict[str, Mapping[str, Any]] = {}
    while waiting or running:
        while waiting and len(running) < trainer.slots:
            trial = waiting.pop()
            running[str(trial["id"])] = trial
            trainer.admit(_trial_spec(spec, trial, request["together"]))
        for event in trainer.advance():
            if event.key not in running or isinstance(event, Printed | Saved):
                continue  # the end after its last epoch is not wanted either
            trial = running[event.key]
            if isinstance(event, Measurement):
                values = {n: v if math.isfinite(v) else None for n, v in event.values.items()}
                yield {"trial": trial["id"], "epoch": event.epoch, "values": values}
                if event.epoch < trial["epochs"]:
                    continue
            elif isinstance(event, Failed):
                yield {"trial": trial["id"], "error": event.summary}
            trainer.release(event.key)
            del running[event.key]


def _trial_spec(
    spec: StudySpec, trial: Mapping[str, Any], together: Mapping[str, Mapping[str, int]]
) -> TrialSpec:
    return trial_spec(
        spec,
        Design.of(spec).arm(trial["arm"]),
        key=str(trial["id"]),
        params=trial["params"],
        seed=trial["seed"],
        budget_epochs=trial["budget_epochs"],
        phase=trial["phase"],
        number=trial["number"],
        with_test=trial["phase"] == "confirm",
        together=together.get(trial["phase"], {}).get(trial["arm"], 0),
    )


if __name__ == "__main__":
    answer_request(retrained)
