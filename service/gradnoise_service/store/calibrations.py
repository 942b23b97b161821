"""Stored calibrations: how many trials train best as one model, by workload and device."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from gradnoise_service.store.database import insert_new
from gradnoise_service.store.tables import CALIBRATION, CalibrationRow


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The conditions of a calibration.

    `n_forms` counts the kinds of stacks that share the memory of a device, `code` is the hash of
    the workload's code, `versions` are those of gradnoise and torch.
    """

    workload: str
    code: str
    options: Mapping[str, object]
    optimizer: str
    n_forms: int
    device: str
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How many trials a worker trains as one model, and why.

    Args:
        slots: The number; 1 where trials train one at a time.
        rates: Updates a second, of all workers together, by number of slots; empty where nothing
            could be measured.
        refusal: Why the trials do not stack or, where rates of stacks were measured, why their
            updates are not captured as a CUDA graph; empty if neither.
    """

    slots: int
    rates: Mapping[int, float] = field(default_factory=dict)
    refusal: str = ""


def find(session: Session, subject: Subject) -> Calibration | None:
    """Return the calibration of a subject, None if it was not measured."""
    row = session.get(CalibrationRow, _key(subject))
    if row is None:
        return None
    return Calibration(
        slots=row.slots,
        rates={int(slots): rate for slots, rate in row.rates.items()},
        refusal=row.refusal,
    )


def keep(session: Session, subject: Subject, calibration: Calibration, now: datetime) -> None:
    """Store a calibration; of two concurrent measurements the first is kept."""
    values = {
        "key": _key(subject),
        "subject": dataclasses.asdict(subject),
        "slots": calibration.slots,
        "rates": {str(slots): rate for slots, rate in calibration.rates.items()},
        "refusal": calibration.refusal,
        "measured_at": now,
    }
    insert_new(session, CALIBRATION, [values])


def _key(subject: Subject) -> str:
    return hashlib.sha256(
        json.dumps(dataclasses.asdict(subject), sort_keys=True).encode()
    ).hexdigest()
