"""Reads the studies of the paper's tables from a service and from the results kept in files."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from gradnoise_service import presets
from gradnoise_service.client import Client, StudyInfo
from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.presets import FULL, LONG, PaperTable, TableRow
from gradnoise_service.reproduction import keeping
from gradnoise_service.reproduction.claims import CompleteStudy
from gradnoise_service.reproduction.keeping import RowStudies
from gradnoise_service.reproduction.results import RowResult, TableResult
from gradnoise_service.reproduction.training_length import AtLength, at_lengths


def table_results(client: Client, kept: Path) -> list[TableResult]:
    """Return every paper table with its results; tables with figures of the paper are first.

    A study belongs to a row if it has the row's name and was submitted with the row's spec.

    Args:
        client: A client of the service.
        kept: Folder of the results of earlier services; new ones are added to it.
    """
    studies = {study.name: study for study in client.studies()}
    tables = [table for name in presets.names() if (table := presets.find_table(name))]
    tables.sort(key=lambda table: not any(row.paper for row in table.rows))
    return [
        TableResult(table=table, rows=tuple(_row_results(client, table, studies, kept)))
        for table in tables
    ]


def _row_results(
    client: Client, table: PaperTable, studies: Mapping[str, StudyInfo], kept: Path
) -> Iterator[RowResult]:
    largest_first = [scale for scale in reversed(table.scales) if scale != LONG]
    specs = {
        scale: [StudySpec.model_validate(plain) for plain in table.studies(scale)]
        for scale in table.scales
    }
    for i, row in enumerate(table.rows):
        named = {scale: studies.get(specs[scale][i].name) for scale in table.scales}
        submitted = {
            scale: info
            for scale, info in named.items()
            if info is not None and info.was_submitted_as(specs[scale][i])
        }
        name, full = table.study_name(row, FULL), specs[FULL][i]
        found = _complete_studies(client, row, submitted).over(keeping.read(kept, name))
        keeping.keep(kept, name, found)
        complete = [found.studies[scale] for scale in largest_first if scale in found.studies]
        yield RowResult(
            row=row,
            full=full,
            study=complete[0] if complete else None,
            state="complete" if complete else _state(submitted),
            full_seconds=_full_seconds(client, full, complete, submitted),
            lengths=found.lengths,
        )


def _complete_studies(
    client: Client, row: TableRow, submitted: Mapping[str, StudyInfo]
) -> RowStudies:
    complete = {scale: info for scale, info in submitted.items() if info.state == "complete"}
    return RowStudies(
        studies={
            scale: CompleteStudy(
                scale=scale,
                spec=info.spec,
                comparison=Comparison.model_validate(client.comparison(info.id)),
            )
            for scale, info in complete.items()
        },
        lengths=_lengths(client, row, complete[LONG]) if LONG in complete else (),
    )


def _lengths(client: Client, row: TableRow, info: StudyInfo) -> tuple[AtLength, ...]:
    trials = list(client.trials(info.id))
    measured = {
        trial.id: [row["values"] for row in client.measurements(info.id, trial.id)]
        for trial in trials
    }
    return tuple(at_lengths(info.spec, info.metric, trials, measured, row.paper))


def _state(submitted: Mapping[str, StudyInfo]) -> str:
    states = [f"{i.state} at scale {scale}" for scale, i in submitted.items() if scale != LONG]
    return f"not complete, {states[-1]}" if states else "not run"


def _full_seconds(
    client: Client,
    full: StudySpec,
    complete: list[CompleteStudy],
    submitted: Mapping[str, StudyInfo],
) -> float | None:
    """Return the device seconds of a row at full scale: measured, or extrapolated from an epoch.

    The seconds per epoch are those of the first study with the same options that has trained any.
    """
    n_epochs = Design.of(full).n_epochs_total
    for study in complete:
        seconds = sum(arm.device_seconds for arm in study.comparison.arms)
        if study.scale == FULL:
            return seconds
        if study.spec.options == full.options:
            return seconds / Design.of(study.spec).n_epochs_total * n_epochs
    for info in submitted.values():
        trials = list(client.trials(info.id)) if info.spec.options == full.options else []
        if done := sum(trial.epochs for trial in trials):
            return sum(trial.device_seconds for trial in trials) / done * n_epochs
    return None
