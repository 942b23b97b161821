"""What `gradnoise run` does with a file: check it, run its study, show the outcome."""

from collections.abc import Iterator

from gradnoise_service.client import Client, StudyInfo
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.source import Source
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.local import sources
from gradnoise_service.local.demo import followed
from gradnoise_service.local.errors import CheckFailedError
from gradnoise_service.local.file_study import Check, FileStudy
from gradnoise_service.local.running import running_or_started
from gradnoise_service.report.words.numbers import count, duration, listed, number
from gradnoise_service.report.words.settings import space, techniques
from gradnoise_service.settings import Settings
from gradnoise_service.terminal import console
from gradnoise_service.terminal.outcome import show_warnings
from gradnoise_service.terminal.tables import show_facts


def run(
    settings: Settings,
    file: FileStudy,
    url: str | None,
    token: str | None,
    *,
    keep: bool,
    as_json: bool,
) -> StudyInfo:
    """Check a file, run its study, and return the study.

    Args:
        settings: Settings of the service of this machine, which is started if it does not run.
        file: The file.
        url: A service on another machine, which must allow code; None for that of this machine.
        token: An API token.
        keep: Whether a service that was started runs on until Ctrl-C.
        as_json: Whether to print JSON.

    Raises:
        CheckFailedError: If an arm cannot be trained; nothing was stored then.
    """
    check = checked(file)
    if check.error:
        raise CheckFailedError(check.arm, check.error, check.trace)
    spec = file.declared(check, settings)
    if not as_json:
        show_facts(plan(file, spec, check))
        show_warnings(check.warnings())
    service = running_or_started(settings, token, keep=keep) if url is None else Client(url, token)
    with service as client:
        if url is None:
            sources.keep(settings, file.source, token)
        else:
            client.store_source(file.source)
        before = latest(client, spec)
        if before is not None and not as_json and differs(file.source, client.source(before.id)):
            console.err.print(
                f"The code of {file.source.name} has changed since study {before.name} "
                f"(id {before.id}): this is a new study.",
                style="dim",
            )
        submitted = client.submit_renamed(spec.model_dump(mode="json"))
        finished = followed(client, submitted, settings, as_json=as_json)
    changed = sources.changed_files(file.source)
    if changed:
        console.err.print(
            f"{listed(changed)} changed after the study was submitted; it ran the code as it was "
            "then.",
            style="yellow",
        )
    return finished


def checked(file: FileStudy) -> Check:
    """Return what a short trial of each arm shows."""
    with console.err.status(f"Training short trials of {file.source.name} ..."):
        return file.checked()


def plan(file: FileStudy, spec: StudySpec, check: Check) -> dict[str, object]:
    """Return what a study was decided to be, by name."""
    design = Design.of(spec)
    difference = f"{number(spec.smallest_difference)} in {file.objective(spec)}"
    if file.difference_reason:
        difference += f": {file.difference_reason}; another with --smallest-difference"
    shared = {name: space(each) for name, each in spec.space.items()}
    facts: dict[str, object] = {
        "code": f"{', '.join(file.source.files)} (SHA-256 {file.source.hash[:12]})",
        "every arm": "; ".join(f"{name} {text}" for name, text in shared.items()),
    }
    for arm in spec.arms:
        own = "; ".join(f"{name} {space(each)}" for name, each in arm.space.items())
        facts[f"arm {arm.name}"] = techniques(arm.techniques) + (f": {own}" if own else "")
    facts["smallest difference"] = difference
    facts["budget"] = (
        f"{count(design.n_trials_total, 'trial')}, about "
        f"{duration(seconds_needed(design, check) / check.n_devices)} on {check.device}"
    )
    return facts


def seconds_needed(design: Design, check: Check) -> float:
    """Return the device seconds of a study, from those of the check's epochs; without stacking."""
    an_epoch = min(check.seconds.values())  # the first trial also loads what the others find loaded
    n_epochs = sum(
        design.n_trials(phase, arm.name) * design.epochs(phase)
        for phase in design.phases
        for arm in design.spec.arms
    )
    return n_epochs * an_epoch


def differs(source: Source, before: Source) -> bool:
    """Return whether a source is that of an earlier one in the same folder, edited since."""
    same_file = (source.folder, source.name) == (before.folder, before.name)
    return same_file and source.hash != before.hash


def latest(client: Client, spec: StudySpec) -> StudyInfo | None:
    """Return the newest study of the same name, whatever number was appended to it."""

    def has_name(study: StudyInfo) -> bool:
        stem, _, number = study.name.rpartition("-")
        return study.name == spec.name or (stem == spec.name and number.isdecimal())

    of_files: Iterator[StudyInfo] = (s for s in client.studies() if s.spec.source is not None)
    return next(filter(has_name, of_files), None)
