"""A stored calibration is found for an equal subject, and for no other."""

import dataclasses
from datetime import datetime

import pytest

from gradnoise_service.store import calibrations
from gradnoise_service.store.calibrations import Calibration, Subject
from gradnoise_service.store.database import Database

SUBJECT = Subject(
    code="0" * 64,
    workload="mlp",
    options={"depth": 2, "width": 4},
    optimizer="sgd",
    n_forms=1,
    device="2 x core",
    versions={"gradnoise": "1", "torch": "2"},
)
CALIBRATION = Calibration(slots=8, rates={1: 1000.0, 8: 2345.6}, refusal="")


def test_a_calibration_is_found_with_options_in_any_order(
    database: Database, now: datetime
) -> None:
    with database.session(write=True) as session:
        calibrations.keep(session, SUBJECT, CALIBRATION, now)
    with database.session() as session:
        assert (
            calibrations.find(
                session, dataclasses.replace(SUBJECT, options={"width": 4, "depth": 2})
            )
            == CALIBRATION
        )


@pytest.mark.parametrize(
    "change",
    [
        {"workload": "other"},
        {"options": {"depth": 2}},
        {"optimizer": "adam"},
        {"device": "4 x core"},
        {"versions": {"gradnoise": "1", "torch": "3"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_subject_has_no_calibration(
    database: Database, now: datetime, change: dict[str, object]
) -> None:
    with database.session(write=True) as session:
        calibrations.keep(session, SUBJECT, CALIBRATION, now)
        assert calibrations.find(session, dataclasses.replace(SUBJECT, **change)) is None  # type: ignore[arg-type]


def test_the_first_of_two_calibrations_is_kept(database: Database, now: datetime) -> None:
    with database.session(write=True) as session:
        calibrations.keep(session, SUBJECT, CALIBRATION, now)
        calibrations.keep(
            session, SUBJECT, Calibration(slots=1, refusal="aten::lstm has no rule"), now
        )
        assert calibrations.find(session, SUBJECT) == CALIBRATION
