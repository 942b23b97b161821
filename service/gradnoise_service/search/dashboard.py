"""What the Optuna Dashboard shows of a study in addition to its trials: a note and plots."""

from collections.abc import Mapping
from dataclasses import dataclass

import optuna
from optuna.storages import RDBStorage


@dataclass(frozen=True)
class PlotlyFigure:
    """The JSON of a Plotly figure with the method that optuna-dashboard calls; avoids Plotly."""

    json: str

    def to_json(self) -> str:
        return self.json


def publish(storage: RDBStorage, name: str, *, note: str, plots: Mapping[str, str]) -> None:
    """Show a note and plots on an Optuna study's page, replacing earlier ones of the same names.

    Args:
        storage: Optuna's storage.
        name: Name of the Optuna study.
        note: Markdown.
        plots: Plotly figures as JSON, by name.
    """
    # imported here: slow, and only a finished study needs it
    from optuna_dashboard import (  # type: ignore[import-untyped]
        save_note,
        save_plotly_graph_object,
    )

    study = optuna.load_study(study_name=name, storage=storage)
    save_note(study, note)
    for plot, json in plots.items():
        save_plotly_graph_object(study, PlotlyFigure(json), graph_object_id=plot)
