"""What the rehearsal of a study showed, as warnings."""

from typing import Any

from gradnoise_service.compare.facts.findings import NoiseDrowns, UnreadParameters
from gradnoise_service.compare.rehearsal import rehearsed
from gradnoise_service.domain.study import Study
from gradnoise_service.report.words.numbers import number
from gradnoise_service.report.words.search import declared_limits


def known_limits(study: Study) -> tuple[str, ...]:
    """Return what a study cannot show, as declared and as its rehearsal showed, and why it does
    not use GPUs that nodes offer.
    """
    showed = (
        unread(finding) if isinstance(finding, UnreadParameters) else drowns(finding)
        for finding in rehearsed(study.protocol)
    )
    faults: Any = study.protocol.get("device_faults", ())
    return (*declared_limits(study.design), *showed, *faults)


def unread(finding: UnreadParameters) -> str:
    return (
        f"The training function read no {' and no '.join(finding.names)} in {finding.arm}'s first "
        "trial: what the study gives or varies there has no effect."
    )


def drowns(finding: NoiseDrowns) -> str:
    return (
        f"At the first update, even with the lowest values of {finding.arm}'s space, the norm of "
        f"its noise is {number(finding.ratio)} times that of the gradient: the updates start as "
        "mostly noise. Widen the space towards lower values, such as eta from 1e-4 on a "
        "logarithmic scale."
    )
