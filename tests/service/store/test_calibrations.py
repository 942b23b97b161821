"""What was measured is found again for the same subject, by whoever shares the database, and for no
other.
"""

import dataclasses
from datetime import datetime

import pytest

from gradnoise_service.store import calibrations
from gradnoise_service.store.calibrations import Calibration, Subject
from gradnoise_service.store.database import Database

SUBJECT = Subject(
    workload="mlp",
    options={"depth": 2, "width": 4},
    optimizer="sgd",
    device="2 x core",
    versions={"gradnoise": "1", "torch": "2"},
)
FOUND = Calibration(slots=8, rates={1: 1000.0, 8: 2345.6}, refusal="")


def test_what_was_kept_is_found_whatever_the_order_of_the_options(
    database: Database, now: datetime
) -> None:
    with database.session(write=True) as session:
        calibrations.keep(session, SUBJECT, FOUND, now)
    with database.session() as session:
        assert (
            calibrations.find(
                session, dataclasses.replace(SUBJECT, options={"width": 4, "depth": 2})
            )
            == FOUND
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
def test_another_subject_is_measured_anew(
    database: Database, now: datetime, change: dict[str, object]
) -> None:
    with database.session(write=True) as session:
        calibrations.keep(session, SUBJECT, FOUND, now)
        assert calibrations.find(session, dataclasses.replace(SUBJECT, **change)) is None  # type: ignore[arg-type]


def test_where_two_have_measured_the_first_stands(database: Database, now: datetime) -> None:
    with database.session(write=True) as session:
        calibrations.keep(session, SUBJECT, FOUND, now)
        calibrations.keep(
            session, SUBJECT, Calibration(slots=1, refusal="aten::lstm has no rule"), now
        )
        assert calibrations.find(session, SUBJECT) == FOUND
