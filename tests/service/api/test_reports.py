"""The report in each format: the stored comparison of a complete study, else an interim one."""

import csv
import io
import json
from datetime import timedelta
from typing import Any, get_args

import pytest
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from gradnoise_service.api.reports import FORMATS, FigureName, preferred_format
from gradnoise_service.client import FIGURES as CLIENT_FIGURES
from gradnoise_service.compare.assembly import compare
from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.domain.study import Study
from gradnoise_service.report.figures import FIGURES
from gradnoise_service.store import attempts, leases, studies, trials
from gradnoise_service.store.database import Database


@pytest.fixture
def complete(database: Database, workshop: Any) -> Study:
    """A complete study; the noisy arm is better by 0.2 plus a little per seed."""
    study = workshop.queued(confirm={"n_seeds": 12})
    with database.session(write=True) as session:
        acquired = leases.acquire(session, "dispatcher", workshop.now, timedelta(hours=1))
        assert acquired is not None
        trials.declare(session, study.id, study.design.trials("search"))
        settings = {"baseline": [{"lr": 0.1}], "noisy": [{"lr": 0.1, "eta": 1.0, "gamma": 0.55}]}
        trials.declare(session, study.id, study.design.trials("confirm", settings))
        for phase in ("search", "confirm"):
            for i, opening in enumerate(attempts.waiting(session, study.id, phase)):
                trial = opening.trial
                token = attempts.start(
                    session, trial.id, trial.params or {"lr": 0.01 * (i + 1)}, i, workshop.now
                )
                attempts.add_cost(session, {token: (3, 1.5)})
                value = (
                    0.5
                    + trial.number / 100
                    + ((0.2 + trial.number / 1000) if trial.arm == "noisy" else 0)
                )
                attempts.end(session, token, "complete", workshop.now, value=value)
        comparison = compare(
            study.design,
            study.metric,
            trials.of_study(session, study.id),
            protocol={"versions": {"torch": "2.13.0"}},
        )
        leases.complete(
            session,
            acquired[1],
            workshop.now,
            comparison.model_dump(mode="json"),
            comparison.verdict,
        )
        return studies.get(session, study.id, None)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        pytest.param("text/html", "text/html; charset=utf-8", marks=pytest.mark.slow),
        ("text/markdown", "text/markdown; charset=utf-8"),
        ("text/csv", "text/csv; charset=utf-8"),
        ("application/x-tex", "application/x-tex"),
    ],
)
def test_accept_selects_the_format(
    client: TestClient, complete: Study, accept: str, content_type: str
) -> None:
    answer = client.get(f"/v1/studies/{complete.id}/report", headers={"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, content_type)
    assert answer.headers["vary"] == "Accept"


@pytest.mark.parametrize(
    ("format", "content_type"),
    [
        ("html", "text/html"),
        *(
            pytest.param(format, content_type, marks=pytest.mark.slow)
            for format, content_type in (
                ("json", "application/json"),
                ("md", "text/markdown"),
                ("csv", "text/csv"),
                ("tex", "application/x-tex"),
            )
        ),
    ],
)
def test_format_parameter_overrides_accept(
    client: TestClient, complete: Study, format: str, content_type: str
) -> None:
    answer = client.get(
        f"/v1/studies/{complete.id}/report?format={format}", headers={"Accept": "image/png"}
    )
    assert answer.headers["content-type"].startswith(content_type)


def test_unknown_format_is_refused(client: TestClient, complete: Study) -> None:
    answer = client.get(f"/v1/studies/{complete.id}/report", headers={"Accept": "application/pdf"})
    assert (answer.status_code, answer.json()["type"]) == (406, "/docs#not-acceptable")
    assert client.get(f"/v1/studies/{complete.id}/report?format=pdf").status_code == 422


def test_csv_has_every_trial(client: TestClient, complete: Study, database: Database) -> None:
    rows = list(
        csv.DictReader(io.StringIO(client.get(f"/v1/studies/{complete.id}/report?format=csv").text))
    )
    with database.session() as session:
        known = trials.of_study(session, complete.id)
    assert [float(row["value"]) for row in rows] == [trial.value for trial in known]


def test_figure_is_svg_or_png(client: TestClient, complete: Study) -> None:
    for name in ("confirm", "difference", "best_so_far", "learning_rate"):
        drawn = client.get(f"/v1/studies/{complete.id}/report/figures/{name}")
        assert (drawn.status_code, drawn.headers["content-type"]) == (200, "image/svg+xml")
        assert drawn.content.startswith(b"<?xml")
    image = client.get(f"/v1/studies/{complete.id}/report/figures/confirm?format=png")
    assert (image.headers["content-type"], image.content[:4]) == ("image/png", b"\x89PNG")


def test_empty_or_unknown_figure_is_refused(
    client: TestClient, complete: Study, workshop: Any
) -> None:
    refused = client.get(f"/v1/studies/{complete.id}/report/figures/course")
    assert (refused.status_code, "'course' has nothing to show" in refused.json()["detail"]) == (
        404,
        True,
    )
    assert client.get(f"/v1/studies/{complete.id}/report/figures/pie").status_code == 422
    assert (
        client.get(
            f"/v1/studies/{workshop.running(n_ended=0).id}/report/figures/confirm"
        ).status_code
        == 409
    )


def test_names_of_the_figures_are_those_of_the_report() -> None:
    assert list(FIGURES) == list(get_args(FigureName)) == list(CLIENT_FIGURES)


def test_complete_study_shows_its_stored_comparison(client: TestClient, complete: Study) -> None:
    shown = client.get(f"/v1/studies/{complete.id}/report").json()
    stored = Comparison.model_validate(complete.comparison)
    assert Comparison.model_validate(shown) == stored
    assert (stored.is_final, shown["verdict"]) == (True, "helps")


def test_html_report_runs_no_script(client: TestClient, complete: Study) -> None:
    answer = client.get(f"/studies/{complete.id}/report")
    assert "script-src" not in answer.headers["content-security-policy"]
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "<script" not in answer.text
    assert complete.spec.name in answer.text


def test_page_of_a_complete_study_shows_its_verdict(client: TestClient, complete: Study) -> None:
    page = client.get(f"/studies/{complete.id}").text
    assert complete.comparison is not None
    assert "noisy against baseline" in page
    assert "badge helps" in page
    assert "badge helps" in client.get("/").text


def test_running_study_has_an_interim_report(client: TestClient, workshop: Any) -> None:
    study = workshop.running()
    shown = client.get(f"/v1/studies/{study.id}/report").json()
    assert (shown["is_final"], shown["verdict"]) == (False, "undecided")
    assert client.get(f"/v1/studies/{study.id}/report?format=html").status_code == 200
    assert client.get(f"/v1/studies/{study.id}/report?format=md").status_code == 200


def test_report_before_the_first_result_is_409(client: TestClient, workshop: Any) -> None:
    queued = workshop.queued(priority=-1)
    started = workshop.running(n_ended=0)
    workshop.cancel(queued)
    for study in (queued, started):
        answer = client.get(f"/v1/studies/{study.id}/report")
        assert (answer.status_code, answer.json()["type"]) == (409, "/docs#report-not-ready")


def test_report_of_a_study_that_ended_before_its_first_trial_names_its_state(
    client: TestClient, workshop: Any
) -> None:
    study = workshop.queued()
    client.post(f"/v1/studies/{study.id}/cancel")
    answer = client.get(f"/v1/studies/{study.id}/report")
    assert answer.json()["type"] == "/docs#report-not-ready"
    assert "is cancelled, and no trial has ended" in answer.json()["detail"]


def test_report_is_strict_json(client: TestClient, complete: Study) -> None:
    """It contains neither NaN nor Infinity."""
    text = client.get(f"/v1/studies/{complete.id}/report").text
    assert json.loads(text, parse_constant=pytest.fail)["verdict"] == "helps"


@pytest.mark.parametrize(
    ("accept", "format"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("text/*", "html"),
        ("text/markdown, text/html;q=0.9", "md"),
        ("text/html;q=0.1, text/markdown;q=0.5, */*;q=0.2", "md"),
        ("application/json;q=0, */*", "html"),
        ("TEXT/HTML", "html"),
        ("text/html;level=1", "html"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "html"),
    ],
)
def test_accept_is_weighted(accept: str, format: str) -> None:
    assert preferred_format(accept, FORMATS) == format


@pytest.mark.parametrize(
    "accept", ["image/png", "text/html;q=0", "text/html;q=high", "*/*;q=0", "nonsense"]
)
def test_unsatisfiable_accept_is_refused(accept: str) -> None:
    with pytest.raises(HTTPException) as refused:
        preferred_format(accept, FORMATS)
    assert refused.value.status_code == 406
