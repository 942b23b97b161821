"""Client against a real API."""

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from gradnoise_service.client import ApiError, Client, ClientError, UnreachableError
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric
from gradnoise_service.store import studies
from gradnoise_service.store.database import Database
from gradnoise_service.study_text import MalformedStudyError

MakeSpec = Callable[..., StudySpec]


def test_submitted_study_is_found_by_id_by_name_and_in_the_list(
    client: Client, make_spec: MakeSpec
) -> None:
    spec = make_spec()
    answer = client.submit(spec)
    assert answer.plan is not None
    submitted = answer.model_copy(update={"plan": None})
    assert submitted.spec == spec
    assert submitted.state == "queued"
    assert submitted.warnings[-1].startswith("5 confirm seeds cannot give a verdict")
    assert (
        client.study(submitted.id)
        == client.study(str(submitted.id))
        == client.study("a study")
        == submitted
    )
    assert list(client.studies()) == [submitted]
    assert list(client.studies("running")) == []


def test_a_name_is_no_id_and_of_one_study(
    client: Client, make_spec: MakeSpec, live_database: Database
) -> None:
    with pytest.raises(ApiError) as caught:
        client.submit(make_spec(name="1"))
    [fault] = caught.value.errors
    assert (fault["field"], fault["value"]) == ("name", "1")
    client.submit(make_spec(name="demo"))
    assert client.submit_renamed(make_spec(name="demo")).name == "demo-2"
    metric = Metric(name="accuracy", direction="maximize", worst=0.0)
    with live_database.session(write=True) as session:
        now = datetime.now(UTC)
        studies.submit(session, make_spec(name="demo"), metric, owner="ada", now=now)
    with pytest.raises(ApiError, match="1 of local") as caught:
        client.study("demo")
    assert caught.value.status == 409
    # of the caller's own studies
    assert client.submit_once(make_spec(name="demo"))[0].id == 1
    for text in ("9", "²", "١"):
        with pytest.raises(ApiError, match="There is no study"):
            client.study(text)


def test_confirm_runs_are_trained_on_once(client: Client, make_spec: MakeSpec, worker: Any) -> None:
    study = client.submit(make_spec())
    worker.run_all(study.id)
    planned = client.extend(study.id, epochs=4, dry_run=True)
    assert (planned.n_seeds, planned.extensions[0].n_epochs) == (5, 4)
    assert client.study(study.id).state == "complete"
    assert {trial.budget_epochs for trial in client.trials(study.id)} == {3}
    for _ in range(2):
        extended = client.extend(study.id, epochs=4, idempotency_key="k")
        assert (extended.state, len(extended.extensions)) == ("queued", 1)
    with pytest.raises(ApiError, match="Idempotency-Key"):
        client.extend(study.id, 4, idempotency_key="k")
    runs = list(client.trials(study.id, phase="confirm"))
    assert {(run.state, run.budget_epochs, run.value) for run in runs} == {("waiting", 7, None)}
    for wrong in ({}, {"seeds": 1, "epochs": 1}, {"epochs": 0}):
        with pytest.raises(ApiError) as caught:
            client.extend(study.id, **wrong)
        assert caught.value.status == 422


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json"])
def test_study_file_is_submitted(
    client: Client, make_spec: MakeSpec, tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"study{suffix}"
    file.write_text(make_spec().model_dump_json(), encoding="utf-8")
    assert client.submit(file).spec == make_spec()


def test_malformed_file_is_not_sent(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("name: x\nspace: [1\nseed: 1", encoding="utf-8")
    with pytest.raises(MalformedStudyError, match="line 3, column 5"):
        client.submit(file)
    assert list(client.studies()) == []


def test_same_key_submits_once(client: Client, make_spec: MakeSpec) -> None:
    first, second = (client.submit(make_spec(), idempotency_key="a-key") for _ in range(2))
    assert first.id == second.id


def test_refusal_holds_every_fault(client: Client, make_spec: MakeSpec) -> None:
    """Nothing is stored."""
    values = make_spec().model_dump(mode="json") | {"workload": "nope", "optimizer": "nope"}
    with pytest.raises(ApiError) as caught:
        client.submit(values)
    assert caught.value.status == 422
    assert {fault["field"] for fault in caught.value.errors} == {"workload", "optimizer"}
    assert all(fault["value"] == "nope" and fault["legal"] for fault in caught.value.errors)
    assert list(client.studies()) == []


def test_preset_takes_the_next_free_name_unless_a_name_is_given(client: Client) -> None:
    assert [client.submit_preset("demo").name for _ in range(3)] == ["demo", "demo-2", "demo-3"]
    assert client.submit_preset("demo", "mine").name == "mine"
    with pytest.raises(ApiError) as caught:
        client.submit_preset("demo", "mine")
    assert (caught.value.status, caught.value.free_name) == (409, "mine-2")


@pytest.mark.usefixtures("whole_catalogue")
def test_studies_of_a_paper_table_are_submitted_once(client: Client) -> None:
    """A new description is the same study; any other change is refused."""
    specs = client.preset("paper-table-1", "quick")
    first = [client.submit_once(spec) for spec in specs]
    assert [(study.name, is_new) for study, is_new in first] == [
        (spec["name"], True) for spec in specs
    ]
    again = [client.submit_once(spec | {"description": "In other words."}) for spec in specs]
    assert [(study.id, is_new) for study, is_new in again] == [
        (study.id, False) for study, _ in first
    ]
    with pytest.raises(ApiError) as caught:
        client.submit_once(specs[0] | {"seed": 1})
    assert caught.value.status == 409
    with pytest.raises(ClientError, match="paper-table-1 has 6 studies"):
        client.submit_preset("paper-table-1")


def test_extended_study_is_the_same_study(client: Client, worker: Any, make_spec: MakeSpec) -> None:
    study = client.submit(make_spec())
    worker.run_all(study.id)
    client.extend(study.id, 3)
    assert client.submit_once(make_spec()) == (client.study(study.id), False)


def test_lists_are_read_over_all_pages(client: Client, worker: Any, make_spec: MakeSpec) -> None:
    study = client.submit(make_spec(search={"n_trials": 150, "epochs": 1}))
    worker.begin(study.id)
    found = list(client.trials(study.id))
    assert len(found) == len({trial.id for trial in found}) == 300
    assert {trial.arm for trial in client.trials(study.id, arm="noisy")} == {"noisy"}
    for i in range(55):
        client.submit(make_spec(name=f"study {i}"))
    ids = [listed.id for listed in client.studies()]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 56


def test_watch_yields_each_change_until_the_study_ends(
    client: Client, worker: Any, make_spec: MakeSpec
) -> None:
    study = client.submit(make_spec())
    events = client.watch(study.id)
    assert next(events).state == "queued"
    worker.begin(study.id)
    assert next(events).state == "running"
    worker.end_trial(study.id, 0.75)
    assert next(events).arms[0].best_value == 0.75
    client.cancel(study.id)
    assert [progress.state for progress in events] == ["cancelled"]
    assert client.study(study.id).state == client.progress(study.id).state == "cancelled"


def test_watch_continues_after_a_restart_of_the_api(
    serve: Any, worker: Any, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last event may be long ago: patience counts from the loss of the connection."""
    clock = [0.0]
    fake = SimpleNamespace(monotonic=lambda: clock[0])
    monkeypatch.setattr("gradnoise_service.client.transport.time", fake)
    api = serve()
    with Client(api.url) as client:
        study = client.submit(make_spec())
        events = client.watch(study.id)
        assert next(events).state == "queued"
        clock[0] += 86400
        api.stop()
        worker.begin(study.id)
        api.start()
        assert next(events).state == "running"
        client.cancel(study.id)
        assert next(events).state == "cancelled"
        assert list(events) == []


def test_watch_gives_up_after_the_patience(serve: Any, worker: Any, make_spec: MakeSpec) -> None:
    api = serve()
    with Client(api.url, patience_seconds=0.3) as client:
        events = client.watch(client.submit(make_spec()).id)
        next(events)
        api.stop()
        with pytest.raises(UnreachableError, match=api.url):
            list(events)


def test_watching_an_unknown_study_is_refused(client: Client) -> None:
    with pytest.raises(ApiError) as caught:
        list(client.watch(99))
    assert caught.value.status == 404


@pytest.mark.parametrize("study", [99, "an unknown study"])
def test_unknown_study_is_not_found(client: Client, study: int | str) -> None:
    with pytest.raises(ApiError) as caught:
        client.study(study)
    assert (caught.value.status, caught.value.title) == (404, "Not found")


def test_complete_study_is_extended_and_watched_to_its_new_end(
    client: Client, worker: Any, make_spec: MakeSpec
) -> None:
    """The earlier verdict is kept, and the same key extends the study once."""
    study = client.submit(make_spec())
    with pytest.raises(ApiError, match="only a complete study can be extended"):
        client.extend(study.id, 3)
    worker.run_all(study.id)
    assert [progress.state for progress in client.watch(study.id)] == ["complete"]
    verdict = client.study(study.id).verdict
    extended, again = (client.extend(study.id, 3, idempotency_key="k") for _ in range(2))
    assert extended == again == client.study(study.id)
    assert (extended.state, extended.verdict, extended.n_seeds) == ("queued", None, 8)
    assert [(e.n_seeds, e.at_n, e.verdict) for e in extended.extensions] == [(3, 5, verdict)]
    events = client.watch(study.id)
    assert next(events).state == "queued"
    with pytest.raises(ApiError) as caught:
        client.extend(study.id, 3)
    assert caught.value.status == 409
    worker.run_all(study.id)
    assert [progress.state for progress in events][-1] == "complete"
    assert client.comparison(study.id)["differences"][0]["n"] == 8


@pytest.mark.parametrize(("anytime", "chance"), [(False, 0.0831), (True, 0.05)])
def test_extension_states_its_error_probability_before_it_runs(
    client: Client, worker: Any, make_spec: MakeSpec, anytime: bool, chance: float
) -> None:
    """A dry run stores nothing, and its answer is that of the extension."""
    study = client.submit(make_spec(confirm={"n_seeds": 12, "anytime": anytime}))
    with pytest.raises(ApiError, match="only a complete study can be extended"):
        client.extend(study.id, 12, dry_run=True)
    worker.run_all(study.id)
    assert client.study(study.id).false_verdict_chance == 0.05
    planned = client.extend(study.id, 12, dry_run=True)
    assert (planned.n_seeds, planned.state) == (24, "queued")
    assert planned.false_verdict_chance == pytest.approx(chance, abs=1e-4)
    unchanged = client.study(study.id)
    assert (unchanged.state, unchanged.n_seeds, unchanged.extensions) == ("complete", 12, ())
    extended = client.extend(study.id, 12)
    assert extended.false_verdict_chance == planned.false_verdict_chance
    assert extended.spec.confirm.anytime is anytime


@pytest.mark.parametrize("seeds", [0, -1, 10_000])
def test_extension_out_of_range_is_refused(
    client: Client, worker: Any, make_spec: MakeSpec, seeds: int
) -> None:
    """The study stays complete."""
    study = client.submit(make_spec())
    worker.run_all(study.id)
    with pytest.raises(ApiError) as caught:
        client.extend(study.id, seeds)
    assert caught.value.status == 422
    assert [(fault["field"], fault["value"]) for fault in caught.value.errors] == [("seeds", seeds)]
    assert caught.value.errors[0]["legal"]
    assert client.study(study.id).state == "complete"


def test_report_before_the_first_result_is_refused_with_a_hint(
    client: Client, make_spec: MakeSpec
) -> None:
    with pytest.raises(ApiError) as caught:
        client.report(client.submit(make_spec()).id)
    assert (caught.value.status, bool(caught.value.hint)) == (409, True)


def test_complete_study_has_its_report_in_every_format(
    client: Client, worker: Any, make_spec: MakeSpec
) -> None:
    study = client.submit(make_spec())
    worker.begin(study.id)
    worker.end_trial(study.id, 0.75)
    worker.complete(study.id)
    assert (
        client.study(study.id).verdict
        == client.comparison(study.id)["verdict"]
        == json.loads(client.report(study.id))["verdict"]
    )
    assert client.report(study.id, "html").lstrip().lower().startswith("<!doctype html")
    assert "a study" in client.report(study.id, "markdown")
    assert r"\toprule" in client.report(study.id, "tex")
    n_trials = len(list(client.trials(study.id)))
    assert len(client.report(study.id, "csv").splitlines()) == 1 + n_trials
    assert [*client.figures(study.id)] == ["best_so_far"]
    assert client.measurements(study.id, next(client.trials(study.id)).id) == []


def test_workloads_techniques_optimizers_and_presets_are_listed(client: Client) -> None:
    assert [workload["name"] for workload in client.workloads()] == ["mlp"]
    assert {technique["name"] for technique in client.techniques()} == {"none", "annealed"}
    assert {optimizer["name"] for optimizer in client.optimizers()} == {"sgd", "adam"}
    assert "demo" in {preset["name"] for preset in client.presets()}
    assert [study["name"] for study in client.preset("demo")] == ["demo"]
    assert client.readiness()["ready"] is True


def test_preset_name_is_one_segment_of_the_path(client: Client) -> None:
    """Slashes and dots in a name reach no other address."""
    with pytest.raises(ApiError) as caught:
        client.preset("../studies")
    assert caught.value.status == 404


def test_token_works_until_it_is_revoked(serve: Any, worker: Any, make_spec: MakeSpec) -> None:
    api = serve(admin_token=SecretStr("the-admin-token"))
    with Client(api.url, "the-admin-token") as admin:
        created = admin.create_token("laptop", owner="ada", scopes=["read", "submit"], days=None)
        assert [(t["name"], t["expires_at"]) for t in admin.tokens()] == [("laptop", None)]
        with Client(api.url, created["token"]) as ada:
            assert ada.submit(make_spec()).owner == "ada"
            admin.revoke_token("laptop")
            with pytest.raises(ApiError) as caught:
                list(ada.studies())
        assert caught.value.status == 401
    with Client(api.url) as anonymous, pytest.raises(ApiError, match="token"):
        list(anonymous.studies())


def test_trials_are_a_table_for_pandas(
    client: Client, make_spec: MakeSpec, worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without pandas the error names the package."""
    study = client.submit(make_spec())
    worker.run_all(study.id)
    assert client.wait(study.id).state == "complete"
    trials = list(client.trials(study.id, phase="search"))
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pandas", None)
        with pytest.raises(ClientError, match="pip install pandas"):
            client.trials(study.id).to_pandas()
    table = client.trials(study.id, phase="search").to_pandas()
    assert list(table.index) == [trial.id for trial in trials]
    assert list(table["value"]) == [trial.value for trial in trials]
    assert list(table["params.lr"]) == [trial.params["lr"] for trial in trials if trial.params]
    assert client.trials(study.id, state="pruned").to_pandas().empty
