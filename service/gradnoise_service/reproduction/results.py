"""The results of our studies for the rows of the paper's tables."""

from dataclasses import dataclass

from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.presets import FULL, PaperTable, TableRow
from gradnoise_service.report.figures import as_svg
from gradnoise_service.report.words.numbers import as_words
from gradnoise_service.reproduction.claims import Claim, CompleteStudy, claims
from gradnoise_service.reproduction.figure import draw
from gradnoise_service.reproduction.length_figure import draw_lengths
from gradnoise_service.reproduction.training_length import AtLength


@dataclass(frozen=True, kw_only=True)
class RowResult:
    """A row of a table and its studies.

    Args:
        row: The row.
        full: The row's study at full scale.
        study: The complete study at the largest scale up to full, None if no study is complete.
        state: The state of a row without a complete study, as text.
        full_seconds: The device seconds of the study at full scale, measured or extrapolated; None
            if unknown.
        lengths: The results of the study at the scale `long`, by training length; empty unless it
            is complete.
    """

    row: TableRow
    full: StudySpec
    study: CompleteStudy | None
    state: str
    full_seconds: float | None
    lengths: tuple[AtLength, ...] = ()

    @property
    def claims(self) -> list[Claim]:
        return claims(self.row.paper, self.study) if self.study else []

    @property
    def is_measured(self) -> bool:
        """True if the row ran at full scale."""
        return self.study is not None and self.study.scale == FULL


@dataclass(frozen=True, kw_only=True)
class TableResult:
    """A table and the results of its rows."""

    table: PaperTable
    rows: tuple[RowResult, ...]

    @property
    def has_run(self) -> bool:
        """True if any row has a complete study."""
        return any(result.study for result in self.rows)

    @property
    def picture(self) -> bytes | None:
        """The differences in the paper and in our studies as SVG; None if no row has run."""
        complete = [
            (result.row, result.study, result.claims) for result in self.rows if result.study
        ]
        return as_svg(lambda: draw(self.table.name, complete)) if complete else None

    @property
    def length_picture(self) -> bytes | None:
        """Each arm's mean over the training length as SVG; None without results by length."""
        rows = [(result.row.title, result.lengths) for result in self.rows if result.lengths]
        updates = self.table.updates_per_epoch
        if not rows or updates is None:
            return None
        full = next(result.full for result in self.rows if result.lengths)
        epochs, metric = full.confirm.epochs or 0, as_words(full.objective or "value")
        return as_svg(lambda: draw_lengths(self.table.name, rows, updates, epochs, metric))
