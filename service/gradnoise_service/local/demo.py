"""What `gradnoise demo` does: start the service, run a preset study, show its outcome, stop."""

from pathlib import Path

from gradnoise_service.client import Client, StudyInfo
from gradnoise_service.local.running import started
from gradnoise_service.settings import Settings
from gradnoise_service.terminal import console, outcome, progress, study


def demo(settings: Settings, preset: str, *, keep: bool, as_json: bool) -> StudyInfo:
    """Run the service on free ports for one preset study, and return the study.

    With `keep` the service runs on until Ctrl-C.
    """
    with started(settings, keep=keep) as client:
        return followed(client, client.submit_preset(preset), settings, as_json=as_json)


def followed(
    client: Client, submitted: StudyInfo, settings: Settings, *, as_json: bool
) -> StudyInfo:
    """Show the progress and outcome of a study, write its report, and return the ended study."""
    if not as_json:
        study.show_submitted(submitted, client.base_url)
    progress.follow(client.watch(submitted.id), console.err if as_json else console.out)
    finished = client.study(submitted.id)
    links = study.links(finished, client.base_url)
    comparison = client.comparison(finished.id) if finished.state == "complete" else None
    if comparison is not None:
        links = {"report file": _write_report(client, finished, settings)} | links
    if as_json:
        console.show_json({"study": finished, "comparison": comparison, "links": links})
    else:
        outcome.show_outcome(finished, comparison, links)
    return finished


def _write_report(client: Client, finished: StudyInfo, settings: Settings) -> str:
    """Write the HTML report into the home folder and return its path, relative if possible."""
    file = settings.home.resolve() / "reports" / f"{finished.name}.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(client.report(finished.id, "html"), encoding="utf-8")
    return str(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)
