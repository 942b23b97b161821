"""Keeps the results of complete studies in files.

The studies of the paper's tables take many hours. The results of a row are kept when its study is
complete, on whatever service it ran, and the page is written from all of them.
"""

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from gradnoise_service.reproduction.claims import CompleteStudy
from gradnoise_service.reproduction.training_length import AtLength


@dataclass(frozen=True, kw_only=True)
class RowStudies:
    """The complete studies of a row by scale, and the results of the longest by training length."""

    studies: dict[str, CompleteStudy] = field(default_factory=dict)
    lengths: tuple[AtLength, ...] = ()

    def over(self, others: "RowStudies") -> "RowStudies":
        """Return these studies, and the others at scales that these lack."""
        return RowStudies(
            studies={**others.studies, **self.studies}, lengths=self.lengths or others.lengths
        )


KEPT = TypeAdapter(RowStudies)


def read(folder: Path, name: str) -> RowStudies:
    """Return what is kept of a row; empty if nothing is.

    Raises:
        pydantic.ValidationError: If it was kept by a version with other fields.
    """
    file = _file(folder, name)
    return KEPT.validate_json(file.read_bytes()) if file.exists() else RowStudies()


def keep(folder: Path, name: str, row: RowStudies) -> None:
    """Keep the studies of a row, if there are any."""
    if row.studies:
        folder.mkdir(parents=True, exist_ok=True)
        _file(folder, name).write_bytes(KEPT.dump_json(row, indent=1) + b"\n")


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name.replace(' ', '-')}.json"
