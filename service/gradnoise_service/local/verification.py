"""What `gradnoise verify` does: train some stored trials again and compare every value."""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gradnoise_service.client import Client, StudyInfo
from gradnoise_service.domain.hashes import results_hash
from gradnoise_service.domain.source import Source
from gradnoise_service.domain.study import Trial
from gradnoise_service.local.sources import answers

Epochs = Mapping[int, Mapping[str, float | None]]
"""Metric values by epoch."""


@dataclass(frozen=True, kw_only=True)
class Verified:
    """How a trial that was trained again compares with what is stored.

    Args:
        trial: Its phase, arm and number.
        n_values: Values that were compared.
        n_equal: Those that are the same to the last bit.
        largest_difference: Among the others; None if one of the two is missing or not finite.
        where: Metric and epoch of the largest difference; empty if all are equal.
        error: Of the training, if it failed.
    """

    trial: str
    n_values: int
    n_equal: int
    largest_difference: float | None = 0.0
    where: str = ""
    error: str = ""

    @property
    def is_identical(self) -> bool:
        return not self.error and 0 < self.n_values == self.n_equal

    def __str__(self) -> str:
        if self.error or self.is_identical:
            return self.error or f"identical: {self.n_values} values"
        size = "a value is missing" if self.largest_difference is None else "largest difference "
        size += "" if self.largest_difference is None else f"{self.largest_difference:.3g}"
        n_unequal = self.n_values - self.n_equal
        return f"{n_unequal} of {self.n_values} values differ; {size} ({self.where})"


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The comparison of some trials of a study.

    Args:
        trials: The trials that were trained again.
        same_code: Whether the code here has the hash that is stored with the study.
        results_hash_holds: Whether the stored trials have the hash of the report.
    """

    trials: tuple[Verified, ...]
    same_code: bool
    results_hash_holds: bool

    @property
    def is_identical(self) -> bool:
        return self.results_hash_holds and all(trial.is_identical for trial in self.trials)

    def lines(self) -> Iterator[tuple[str, bool, str]]:
        """Yield what was compared, whether it is the same, and the result as text."""
        holds = "that of the report" if self.results_hash_holds else "not that of the report"
        yield "hash of the results", self.results_hash_holds, holds
        same = "that of the study" if self.same_code else "not that of the study"
        yield "hash of the code here", self.same_code, same
        yield from ((trial.trial, trial.is_identical, str(trial)) for trial in self.trials)


def verify(
    client: Client, study: StudyInfo, n_trials: int, source: Source | None = None
) -> Verification:
    """Train trials of a complete study again on this machine and compare their measurements.

    Args:
        client: The service.
        study: The study.
        n_trials: Trials to train again.
        source: The code of its workload; None for an installed workload.

    Raises:
        ApiError: If the study has no report.
        SourceFileError: If the code cannot be imported, or not in time.
        FileProcessError: If the process that trains ends early.
    """
    protocol = client.comparison(study.id)["protocol"]
    hashes = protocol.get("hashes", {})
    stored = list(client.trials(study.id))
    selected = chosen(stored, n_trials, study.spec.seed)
    code, measured, errors = _retrain(study, selected, protocol, source)
    verified = []
    for trial in selected:
        rows = client.measurements(study.id, trial.id)
        before = {row["epoch"]: row["values"] for row in rows}
        after = measured.get(trial.id, {})
        verified.append(compared(trial, before, after, errors.get(trial.id, "")))
    return Verification(
        trials=tuple(verified),
        same_code=code == hashes.get("code"),
        results_hash_holds=results_hash(stored) == hashes.get("results"),
    )


def chosen(trials: Iterable[Trial], n: int, seed: int) -> list[Trial]:
    """Return the trials to train again, at most n.

    They are the first confirm run of each arm, then others that the study's seed draws from all
    phases. Only trials that were measured and have not failed are taken.
    """
    measured = sorted(
        (t for t in trials if t.epochs and t.state in ("complete", "pruned")),
        key=lambda t: (t.phase, t.arm, t.number),
    )
    first = [t for t in measured if t.phase == "confirm" and t.number == 0]
    others = [t for t in measured if t not in first]
    return [*first, *random.Random(seed).sample(others, len(others))][:n]


def compared(trial: Trial, before: Epochs, after: Epochs, error: str = "") -> Verified:
    """Return how the stored values of a trial compare with the new ones."""
    pairs = {
        f"{name}, epoch {epoch}": (value, after.get(epoch, {}).get(name))
        for epoch, values in before.items()
        for name, value in values.items()
    }
    unequal = {where: pair for where, pair in pairs.items() if pair[0] != pair[1]}
    sizes = {
        where: abs(a - b) if a is not None and b is not None else None
        for where, (a, b) in unequal.items()
    }
    where = max(sizes, key=lambda w: (sizes[w] is None, sizes[w] or 0.0), default="")
    return Verified(
        trial=f"{trial.phase} {trial.arm} {trial.number}",
        n_values=len(pairs),
        n_equal=len(pairs) - len(unequal),
        largest_difference=sizes[where] if where else 0.0,
        where=where,
        error=error,
    )


def _retrain(
    study: StudyInfo, trials: Sequence[Trial], protocol: Mapping[str, Any], source: Source | None
) -> tuple[str, dict[int, dict[int, Any]], dict[int, str]]:
    """Train trials in a process of the workers; return its code's hash, values and errors."""
    fields = ("id", "phase", "arm", "number", "seed", "params", "budget_epochs", "epochs")
    request = {
        "spec": study.spec.model_dump(mode="json"),
        "source": None if source is None else asdict(source),
        "slots": protocol.get("slots", 1),
        "together": protocol.get("together", {}),
        "trials": [{name: asdict(trial)[name] for name in fields} for trial in trials],
    }
    name = study.spec.workload if source is None else source.name
    code, *lines = answers(request, name, "gradnoise_workers.retrain")
    measured: dict[int, dict[int, Any]] = {}
    errors: dict[int, str] = {}
    for line in lines:
        if "error" in line:
            errors[line["trial"]] = line["error"]
        else:
            measured.setdefault(line["trial"], {})[line["epoch"]] = line["values"]
    return code["code"], measured, errors
