"""Reads the studies of the paper's tables from a service."""

from collections.abc import Iterable, Iterator, Mapping

from gradnoise_service import presets
from gradnoise_service.client import Client, StudyInfo
from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.presets import FULL, PaperTable
from gradnoise_service.reproduction.claims import CompleteStudy
from gradnoise_service.reproduction.results import RowResult, TableResult


def table_results(client: Client) -> list[TableResult]:
    """Return every paper table with its results; tables with figures of the paper are first.

    A study belongs to a row if it has the row's name and was submitted with the row's spec.
    """
    studies = {study.name: study for study in client.studies()}
    tables = [table for name in presets.names() if (table := presets.find_table(name))]
    tables.sort(key=lambda table: not any(row.paper for row in table.rows))
    return [
        TableResult(table=table, rows=tuple(_row_results(client, table, studies)))
        for table in tables
    ]


def _row_results(
    client: Client, table: PaperTable, studies: Mapping[str, StudyInfo]
) -> Iterator[RowResult]:
    largest_first = list(reversed(table.scales))
    specs = {
        scale: [StudySpec.model_validate(plain) for plain in table.studies(scale)]
        for scale in largest_first
    }
    for i, row in enumerate(table.rows):
        named = {scale: studies.get(specs[scale][i].name) for scale in largest_first}
        submitted = {
            scale: info
            for scale, info in named.items()
            if info is not None and info.was_submitted_as(specs[scale][i])
        }
        full, study = specs[FULL][i], _complete_study(client, submitted)
        yield RowResult(
            row=row,
            full=full,
            study=study,
            state="complete" if study else _state(submitted),
            full_seconds=_full_seconds(client, full, study, submitted.values()),
        )


def _complete_study(client: Client, submitted: Mapping[str, StudyInfo]) -> CompleteStudy | None:
    for scale, info in submitted.items():
        if info.state == "complete":
            comparison = Comparison.model_validate(client.comparison(info.id))
            return CompleteStudy(scale=scale, spec=info.spec, comparison=comparison)
    return None


def _state(submitted: Mapping[str, StudyInfo]) -> str:
    for scale, info in submitted.items():
        return f"not complete, {info.state} at scale {scale}"
    return "not run"


def _full_seconds(
    client: Client, full: StudySpec, study: CompleteStudy | None, submitted: Iterable[StudyInfo]
) -> float | None:
    """Return the device seconds of a row at full scale: measured, or extrapolated from an epoch.

    The seconds per epoch are those of the first study with the same options that has trained any.
    """
    if study is not None and study.scale == FULL:
        return sum(arm.device_seconds for arm in study.comparison.arms)
    for info in submitted:
        trials = list(client.trials(info.id)) if info.spec.options == full.options else []
        if n_epochs := sum(trial.epochs for trial in trials):
            return (
                sum(trial.device_seconds for trial in trials)
                / n_epochs
                * Design.of(full).n_epochs_total
            )
    return None
