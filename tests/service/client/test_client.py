"""The client speaks to a real API, also through connections that break."""

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from gradnoise_service import ports
from gradnoise_service.client import ApiError, Client, ClientError, UnreachableError, read_studies
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.study_file import MalformedStudyError

MakeSpec = Callable[..., StudySpec]


@pytest.fixture
def client(api: Any) -> Iterator[Client]:
    with Client(api.url) as client:
        yield client


def test_a_study_is_submitted_and_found_again(client: Client, make_spec: MakeSpec) -> None:
    """By its id, by its name, and in the list; what comes back is what was sent."""
    spec = make_spec()
    submitted = client.submit(spec)
    assert submitted.spec == spec
    assert submitted.state == "queued"
    assert (
        client.study(submitted.id)
        == client.study(str(submitted.id))
        == client.study("a study")
        == submitted
    )
    assert list(client.studies()) == [submitted]
    assert list(client.studies("running")) == []


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json"])
def test_a_study_may_be_a_file(
    client: Client, make_spec: MakeSpec, tmp_path: Path, suffix: str
) -> None:
    """YAML, or JSON by the file's name; JSON values are YAML too."""
    file = tmp_path / f"study{suffix}"
    file.write_text(make_spec().model_dump_json(), encoding="utf-8")
    assert client.submit(file).spec == make_spec()


def test_a_malformed_file_is_not_sent(client: Client, tmp_path: Path) -> None:
    """The error names line and column."""
    file = tmp_path / "study.yaml"
    file.write_text("name: x\nspace: [1\nseed: 1", encoding="utf-8")
    with pytest.raises(MalformedStudyError, match="line 3, column 5"):
        client.submit(file)
    file.write_bytes(b"name: \xff")
    with pytest.raises(MalformedStudyError, match="UTF-8"):
        client.submit(file)
    assert list(client.studies()) == []


def test_the_same_key_submits_once(client: Client, make_spec: MakeSpec) -> None:
    """A repeated submission returns the study of the first."""
    first, second = (client.submit(make_spec(), idempotency_key="a-key") for _ in range(2))
    assert first.id == second.id


def test_a_refusal_carries_every_fault(client: Client, make_spec: MakeSpec) -> None:
    """Each fault has its field, value, message and what is legal; nothing is stored."""
    values = make_spec().model_dump(mode="json") | {"workload": "nope", "optimizer": "nope"}
    with pytest.raises(ApiError) as caught:
        client.submit(values)
    assert caught.value.status == 422
    assert {fault["field"] for fault in caught.value.errors} == {"workload", "optimizer"}
    assert all(fault["value"] == "nope" and fault["legal"] for fault in caught.value.errors)
    assert list(client.studies()) == []


def test_a_preset_takes_the_next_free_name(client: Client) -> None:
    """Unless a name is given: then a taken one is refused."""
    assert [client.submit_preset("demo").name for _ in range(3)] == ["demo", "demo-2", "demo-3"]
    assert client.submit_preset("demo", "mine").name == "mine"
    with pytest.raises(ApiError) as caught:
        client.submit_preset("demo", "mine")
    assert (caught.value.status, caught.value.free_name) == (409, "mine-2")


def test_a_file_of_several_studies_is_not_one(client: Client, tmp_path: Path) -> None:
    """They are read apart, and submitted one by one."""
    file = tmp_path / "studies.yaml"
    file.write_text("name: a\n---\nname: b\n", encoding="utf-8")
    assert read_studies(file) == [{"name": "a"}, {"name": "b"}]
    with pytest.raises(MalformedStudyError, match="holds 2 studies"):
        client.submit(file)


@pytest.mark.usefixtures("whole_catalogue")
def test_the_studies_of_a_table_are_submitted_once(client: Client) -> None:
    """Under their own names; in other words or extended they are still there, but what asks
    something else is refused.
    """
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
    with pytest.raises(ClientError, match="a table of 6 studies"):
        client.submit_preset("paper-table-1")


def test_a_study_that_was_extended_is_there_already(
    client: Client, worker: Any, make_spec: MakeSpec
) -> None:
    """Its further seeds are no other question."""
    study = client.submit(make_spec())
    worker.run_all(study.id)
    client.extend(study.id, 3)
    assert client.submit_once(make_spec()) == (client.study(study.id), False)


def test_lists_are_read_to_their_end(client: Client, worker: Any, make_spec: MakeSpec) -> None:
    """Over as many pages as there are, each thing once."""
    study = client.submit(make_spec(search={"n_trials": 150, "epochs": 1}))
    worker.begin(study.id)
    found = list(client.trials(study.id))
    assert len(found) == len({trial.id for trial in found}) == 300
    assert {trial.arm for trial in client.trials(study.id, arm="noisy")} == {"noisy"}
    for i in range(55):
        client.submit(make_spec(name=f"study {i}"))
    assert [one.id for one in client.studies()] == sorted(
        (one.id for one in client.studies()), reverse=True
    )
    assert len(list(client.studies())) == 56


def test_a_study_is_followed_to_its_end(client: Client, worker: Any, make_spec: MakeSpec) -> None:
    """Each change is seen, and the last state is the study's end."""
    study = client.submit(make_spec())
    news = client.watch(study.id)
    assert next(news).state == "queued"
    worker.begin(study.id)
    assert next(news).state == "running"
    worker.end_trial(study.id, 0.75)
    assert next(news).arms[0].best_value == 0.75
    client.cancel(study.id)
    assert [progress.state for progress in news] == ["cancelled"]
    assert client.study(study.id).state == client.progress(study.id).state == "cancelled"


def test_following_survives_a_restart_of_the_api(
    api: Any, worker: Any, make_spec: MakeSpec
) -> None:
    """The stream is taken up again as soon as the service is back."""
    with Client(api.url) as client:
        study = client.submit(make_spec())
        news = client.watch(study.id)
        assert next(news).state == "queued"
        api.stop()
        worker.begin(study.id)
        api.start()
        assert next(news).state == "running"
        client.cancel(study.id)
        assert next(news).state == "cancelled"
        assert list(news) == []


def test_following_gives_up_when_the_service_stays_away(api: Any, make_spec: MakeSpec) -> None:
    """After the client's patience the service counts as unreachable."""
    with Client(api.url, patience_seconds=0.3) as client:
        news = client.watch(client.submit(make_spec()).id)
        next(news)
        api.stop()
        with pytest.raises(UnreachableError, match=api.url):
            list(news)


def test_following_what_is_not_there_is_refused(client: Client) -> None:
    """A study that does not exist is 404, not a stream that never starts."""
    with pytest.raises(ApiError) as caught:
        list(client.watch(99))
    assert caught.value.status == 404


@pytest.mark.parametrize("wanted", [99, "nobody's study"])
def test_an_unknown_study_is_not_found(client: Client, wanted: int | str) -> None:
    """By id and by name alike."""
    with pytest.raises(ApiError) as caught:
        client.study(wanted)
    assert caught.value.status == 404


def test_an_ended_study_cannot_be_cancelled(client: Client, make_spec: MakeSpec) -> None:
    """The refusal says so."""
    study = client.submit(make_spec())
    client.cancel(study.id)
    with pytest.raises(ApiError, match="already ended"):
        client.cancel(study.id)


def test_a_complete_study_is_extended_and_followed_to_its_new_end(
    client: Client, worker: Any, make_spec: MakeSpec
) -> None:
    """Its verdict so far is kept; the same key extends it once; until it is complete again it
    cannot be extended.
    """
    study = client.submit(make_spec())
    with pytest.raises(ApiError, match="only a complete one can be extended"):
        client.extend(study.id, 3)
    worker.run_all(study.id)
    assert [progress.state for progress in client.watch(study.id)] == ["complete"]
    verdict = client.study(study.id).verdict
    extended, again = (client.extend(study.id, 3, idempotency_key="k") for _ in range(2))
    assert extended == again == client.study(study.id)
    assert (extended.state, extended.verdict, extended.spec.confirm.n_seeds) == ("queued", None, 8)
    assert [(one.n_seeds, one.at_n, one.verdict) for one in extended.extensions] == [
        (3, 5, verdict)
    ]
    news = client.watch(study.id)
    assert next(news).state == "queued"
    with pytest.raises(ApiError) as caught:
        client.extend(study.id, 3)
    assert caught.value.status == 409
    worker.run_all(study.id)
    assert [progress.state for progress in news][-1] == "complete"
    assert client.comparison(study.id)["differences"][0]["n"] == 8


@pytest.mark.parametrize("seeds", [0, -1, 10_000])
def test_an_extension_out_of_range_is_refused(
    client: Client, worker: Any, make_spec: MakeSpec, seeds: int
) -> None:
    """With the field, its value and what is legal; the study stays complete."""
    study = client.submit(make_spec())
    worker.run_all(study.id)
    with pytest.raises(ApiError) as caught:
        client.extend(study.id, seeds)
    assert caught.value.status == 422
    assert [(fault["field"], fault["value"]) for fault in caught.value.errors] == [("seeds", seeds)]
    assert caught.value.errors[0]["legal"]
    assert client.study(study.id).state == "complete"


def test_a_report_before_there_is_anything_to_report_is_refused(
    client: Client, make_spec: MakeSpec
) -> None:
    """With 409, and a hint."""
    with pytest.raises(ApiError) as caught:
        client.report(client.submit(make_spec()).id)
    assert (caught.value.status, bool(caught.value.hint)) == (409, True)


def test_a_complete_study_has_its_report_in_every_format(
    client: Client, worker: Any, make_spec: MakeSpec
) -> None:
    """JSON, HTML and Markdown of the same comparison; trials and their measurements are there too."""
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
    assert len(client.report(study.id, "csv").splitlines()) == 1 + sum(
        1 for _ in client.trials(study.id)
    )
    assert [*client.figures(study.id)] == ["best_so_far"]
    assert client.measurements(study.id, next(client.trials(study.id)).id) == []


def test_what_there_is_to_study_is_listed(client: Client) -> None:
    """Workloads, techniques, optimizers and presets."""
    assert [one["name"] for one in client.workloads()] == ["mlp"]
    assert {one["name"] for one in client.techniques()} == {"none", "annealed"}
    assert {one["name"] for one in client.optimizers()} == {"sgd", "adam"}
    assert "demo" in {one["name"] for one in client.presets()}
    assert [study["name"] for study in client.preset("demo")] == ["demo"]
    assert client.readiness()["ready"] is True


def test_a_preset_name_stays_one_part_of_the_address(client: Client) -> None:
    """A name with a slash or dots leads nowhere else."""
    with pytest.raises(ApiError) as caught:
        client.preset("../studies")
    assert caught.value.status == 404


def test_tokens_are_made_listed_and_revoked(serve: Any, worker: Any, make_spec: MakeSpec) -> None:
    """A token works from when it is made until it is revoked."""
    api = serve(admin_token=SecretStr("the-admin-token"))
    with Client(api.url, "the-admin-token") as admin:
        made = admin.create_token("laptop", owner="ada", scopes=["read", "submit"], days=None)
        assert [(one["name"], one["expires_at"]) for one in admin.tokens()] == [("laptop", None)]
        with Client(api.url, made["token"]) as ada:
            assert ada.submit(make_spec()).owner == "ada"
            admin.revoke_token("laptop")
            with pytest.raises(ApiError) as caught:
                list(ada.studies())
        assert caught.value.status == 401
    with Client(api.url) as nobody, pytest.raises(ApiError, match="token"):
        list(nobody.studies())


def test_too_many_requests_are_spread_out(serve: Any, worker: Any) -> None:
    """When the service asks to wait, the client waits and then gets its answer."""
    api = serve(requests_per_minute=60)
    with Client(api.url) as client:
        for _ in range(61):
            client.presets()


def test_an_unreachable_service_is_named() -> None:
    """The error names the address and what the network said."""
    url = f"http://127.0.0.1:{ports.free('127.0.0.1')}"
    with Client(url) as client, pytest.raises(UnreachableError, match=f"{url}: connection refused"):
        list(client.studies())


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://host", "http://", "http://[::1"])
def test_an_address_that_is_none_is_named(url: str) -> None:
    """Nothing is sent then."""
    with pytest.raises(UnreachableError, match=r"looks like http|[Ii]nvalid"):
        Client(url)


def test_another_server_is_not_mistaken_for_the_service(tmp_path: Path) -> None:
    """An answer that is no problem+json is shown as it is."""

    class Teapot(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            self.wfile.write(
                b"HTTP/1.1 418 Teapot\r\nContent-Length: 5\r\nConnection: close\r\n\r\nshort"
            )

    with (
        _serving(Teapot) as url,
        Client(url) as client,
        pytest.raises(ApiError, match="HTTP 418 Teapot: short"),
    ):
        list(client.studies())


def test_a_submission_whose_answer_is_lost_is_repeated_safely(
    api: Any, make_spec: MakeSpec
) -> None:
    """The connection breaks after the service has stored the study: the repeat finds it, and there
    is one study.
    """
    n_lost = iter(range(2))

    class LosesAnswers(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            method, path, _ = self.rfile.readline().decode().split()
            headers = dict(
                line.decode().strip().split(": ", 1) for line in iter(self.rfile.readline, b"\r\n")
            )
            named = {name.lower(): value for name, value in headers.items()}
            body = self.rfile.read(int(named.get("content-length", 0)))
            kept = {
                name: named[name] for name in ("idempotency-key", "content-type") if name in named
            }
            answer = httpx2.request(method, api.url + path, headers=kept, content=body)
            if next(n_lost, None) is None:
                head = (
                    f"HTTP/1.1 {answer.status_code} X\r\nContent-Length: "
                    f"{len(answer.content)}\r\nConnection: close\r\n\r\n"
                )
                self.wfile.write(head.encode() + answer.content)

    with _serving(LosesAnswers) as url, Client(url) as client:
        submitted = client.submit(make_spec())
    with Client(api.url) as direct:
        assert list(direct.studies()) == [submitted]


class _serving:  # noqa: N801  # used as a function
    """Serve connections with a handler, in a thread, and give the address."""

    def __init__(self, handler: type[socketserver.BaseRequestHandler]) -> None:
        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}
        )

    def __enter__(self) -> str:
        self.thread.start()
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
