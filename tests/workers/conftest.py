"""Fixtures: Optuna's storage in the test's database, and studies that end without reports."""

import pytest


@pytest.fixture
def without_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what is rendered after a study is complete: it takes most of the time."""
    monkeypatch.setattr("gradnoise_service.report.markdown.render", lambda *_: "")
    monkeypatch.setattr("gradnoise_service.report.plots.render", lambda *_: {})
    monkeypatch.setattr("gradnoise_workers.study.optuna_sync.publish", lambda *_, **__: None)
