"""Reads from a service what has come of the paper's tables, and writes the page about it."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from gradnoise_service import presets
from gradnoise_service.client import Client, StudyInfo
from gradnoise_service.compare.comparison import Comparison
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.presets.table import FULL, Table
from gradnoise_service.report.claims import Ran
from gradnoise_service.report.reproduction import Outcome, Section, device_seconds, reproduction

PICTURES = "pictures"


def write(client: Client, file: Path) -> tuple[int, int]:
    """Write the page into a file and its pictures into the folder `pictures` beside it; return how
    many rows there are, and have run.
    """
    found = sections(client)
    for section in found:
        if picture := section.picture:
            (file.parent / PICTURES).mkdir(parents=True, exist_ok=True)
            (file.parent / PICTURES / f"{section.table.name}.svg").write_bytes(picture)
    file.write_text(reproduction(found, pictures=PICTURES), encoding="utf-8")
    outcomes = [outcome for section in found for outcome in section.outcomes]
    return len(outcomes), sum(outcome.ran is not None for outcome in outcomes)


def sections(client: Client) -> list[Section]:
    """Return every preset that is a table, those that have figures of the paper first, each row
    with what has come of it.

    A study is a row's if it has the name and asks what the preset asks; another of this name is
    none.
    """
    studies = {study.name: study for study in client.studies()}
    tables = [table for name in presets.names() if (table := presets.table(name))]
    tables.sort(key=lambda table: not any(row.paper for row in table.rows))
    return [
        Section(table=table, outcomes=tuple(_outcomes(client, table, studies))) for table in tables
    ]


def _outcomes(client: Client, table: Table, studies: Mapping[str, StudyInfo]) -> Iterator[Outcome]:
    scales = list(reversed(table.scales))
    specs = {
        scale: [StudySpec.model_validate(plain) for plain in table.studies(scale)]
        for scale in scales
    }
    for i, row in enumerate(table.rows):
        full = specs[FULL][i]
        asked = ((scale, studies.get(specs[scale][i].name), specs[scale][i]) for scale in scales)
        there = {scale: info for scale, info, spec in asked if info is not None and info.asks(spec)}
        complete = next(
            ((scale, info) for scale, info in there.items() if info.state == "complete"), None
        )
        ran, state = None, "not run"
        if complete is not None:
            scale, info = complete
            ran = Ran(
                scale=scale,
                spec=info.spec,
                comparison=Comparison.model_validate(client.comparison(info.id)),
            )
        elif there:
            scale, info = next(iter(there.items()))
            state = f"not complete, {info.state} at scale {scale}"
        if ran is not None and ran.scale == FULL:
            seconds: float | None = sum(map(device_seconds, ran.comparison.arms))
        else:
            seconds = _extrapolated(client, full, there.values())
        yield Outcome(row=row, full=full, ran=ran, state=state, full_seconds=seconds)


def _extrapolated(client: Client, full: StudySpec, studies: Iterable[StudyInfo]) -> float | None:
    """Return the epochs of a study times the device seconds of one, in the first of these studies
    that has trained any with the same options; None if none has.
    """
    for info in studies:
        trials = list(client.trials(info.id)) if info.spec.options == full.options else []
        if n_epochs := sum(trial.epochs for trial in trials):
            return sum(trial.device_seconds for trial in trials) / n_epochs * full.n_epochs_total
    return None
