"""The studies of the paper's tables are read from a service."""

from pathlib import Path
from typing import Any

import pytest

from gradnoise_service.client import Client
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.reproduction.reading import table_results


def test_each_row_has_its_largest_complete_scale(ran: Client, tmp_path: Path) -> None:
    """A different study with the row's name does not count."""
    (result,) = table_results(ran, tmp_path)
    assert [row.study and row.study.scale for row in result.rows] == [
        "full",
        "quick",
        None,
        None,
        None,
    ]
    states = ["not complete, queued at scale quick", "not run", "not run"]
    assert [row.state for row in result.rows if row.study is None] == states


def test_cost_is_measured_or_unknown_for_other_options(ran: Client, tmp_path: Path) -> None:
    """Every epoch took 2 seconds; the scale quick has other options than full."""
    (result,) = table_results(ran, tmp_path)
    seconds = 3 * 12 * 8 * 2.0
    assert [row.full_seconds for row in result.rows] == [seconds, None, None, None, None]
    spec = StudySpec.model_validate(ran.preset("paper-table-9")[0])
    assert seconds == 2.0 * Design.of(spec).n_epochs_total


def test_cost_is_extrapolated_from_an_incomplete_study(
    client: Client, worker: Any, tmp_path: Path
) -> None:
    """It follows from the seconds per epoch; a study without epochs has none."""
    spec = client.preset("paper-table-9")[0]
    study = client.submit(spec)
    assert table_results(client, tmp_path)[0].rows[0].full_seconds is None
    worker.begin(study.id)
    worker.end_trial(study.id, 0.75)
    (trial,) = client.trials(study.id, state="complete")
    assert trial.epochs == 8
    assert (
        table_results(client, tmp_path)[0].rows[0].full_seconds
        == trial.device_seconds / 8 * Design.of(StudySpec.model_validate(spec)).n_epochs_total
    )


def test_results_are_kept_for_the_page_of_another_service(
    ran: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service without the studies has the same results from the kept files."""
    (before,) = table_results(ran, tmp_path)
    monkeypatch.setattr(ran, "studies", lambda: iter(()))
    (after,) = table_results(ran, tmp_path)
    assert [row.study for row in after.rows] == [row.study for row in before.rows]
    assert [row.full_seconds for row in after.rows] == [row.full_seconds for row in before.rows]
