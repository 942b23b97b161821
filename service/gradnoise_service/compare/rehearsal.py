"""What the rehearsed trial of each arm showed, before the first trial."""

from collections.abc import Iterator, Mapping
from typing import Any

from gradnoise_service.compare.facts.diagnostics import NOISE_DOMINANT
from gradnoise_service.compare.facts.findings import NoiseDrowns, UnreadParameters


def rehearsed(protocol: Mapping[str, Any]) -> Iterator[UnreadParameters | NoiseDrowns]:
    """Yield the findings of a study's rehearsal, none before it.

    Args:
        protocol: The study's protocol, whose entry `rehearsal` has what each arm's trial did.
    """
    for arm, did in protocol.get("rehearsal", {}).items():
        if did["unread"]:
            yield UnreadParameters(arm=arm, names=tuple(did["unread"]))
        ratio = did["noise_to_gradient"]
        if ratio is not None and ratio > NOISE_DOMINANT:
            yield NoiseDrowns(arm=arm, ratio=ratio)
