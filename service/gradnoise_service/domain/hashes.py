"""Hashes of a study's declaration and of its results, SHA-256 over JSON."""

import hashlib
import json
from collections.abc import Iterable, Mapping

from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Trial


def spec_hash(spec: StudySpec) -> str:
    """Return the hash of a spec with all defaults: known before the first trial.

    Parameters and choices count in their order, in which the sampler draws them.
    """
    return sha256(spec.model_dump(mode="json"))


def results_hash(trials: Iterable[Trial]) -> str:
    """Return the hash of what every trial ran and measured, in any order of the trials.

    Each trial counts with its phase, arm, number, seed, params by name, state, value and whether it
    diverged; durations and numbers of attempts do not count.
    """
    rows = [
        [
            *(t.phase, t.arm, t.number, t.seed, sorted((t.params or {}).items())),
            *(t.state, t.value, t.diverged),
        ]
        for t in trials
    ]
    return sha256(sorted(rows, key=lambda row: row[:3]))


def with_results_hash(protocol: Mapping[str, object], trials: Iterable[Trial]) -> dict[str, object]:
    """Return a study's protocol with the hash of its results among its hashes."""
    hashes = protocol.get("hashes")
    before = hashes if isinstance(hashes, Mapping) else {}
    return {**protocol, "hashes": {**before, "results": results_hash(trials)}}


def sha256(values: object) -> str:
    """Return the SHA-256 of JSON values."""
    text = json.dumps(values, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
