"""Suites: studies of the same arms on several workloads, which share the name of their suite."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from gradnoise_service.domain.arm import Arm
from gradnoise_service.domain.errors import FieldFault, InvalidSpecError
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Study


@dataclass(frozen=True)
class SuiteCount:
    """A suite with the number of its studies, and of those that have ended."""

    name: str
    owner: str
    n_studies: int
    n_ended: int


def check_membership(spec: StudySpec, member: Study | None) -> None:
    """Check that a study fits the suite that it names.

    Args:
        spec: The study.
        member: A study of its owner's suite; None if the suite is new.

    Raises:
        InvalidSpecError: If the suite compares other arms.
    """
    if member is None or _arms(spec) == _arms(member.spec):
        return
    fault = FieldFault(
        field="arms",
        value=_arms(spec),
        message=f"the suite {spec.suite} compares other arms",
        legal=f"the arms {', '.join(_arms(member.spec))}, in this order",
    )
    raise InvalidSpecError([fault])


def _arms(spec: StudySpec) -> list[str]:
    """Return each arm with the choices of its own; spaces may differ between workloads."""
    return [f"{arm.name} ({', '.join(_choices(arm))})" for arm in spec.arms]


def _choices(arm: Arm) -> Iterator[str]:
    yield from arm.techniques
    if arm.optimizer is not None:
        yield f"optimizer {arm.optimizer}"
    for name in sorted(arm.options):
        yield f"{name} {json.dumps(arm.options[name])}"
