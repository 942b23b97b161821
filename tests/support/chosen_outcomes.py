"""Studies with chosen outcomes: designs, and trials with given values."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from gradnoise_service.compare.facts.tables import SearchPoint
from gradnoise_service.domain.design import Design, GridDesign
from gradnoise_service.domain.spec import Phase, StudySpec
from gradnoise_service.domain.study import Trial

Result = float | str
"""A trial's value, or its state: `diverged`, `failed`, `running`, `waiting`, `cancelled`."""


def trial(
    design: Design, phase: Phase, arm: str, number: int, result: Result, **changes: object
) -> Trial:
    """Return one trial: `trial(design, "search", "noisy", 3, 0.5)`."""
    state = result if isinstance(result, str) else "complete"
    noise = {} if arm == "baseline" else {"eta": 0.3, "gamma": 0.1 * number}
    fields: dict[str, object] = {
        "id": number,
        "study_id": 1,
        "phase": phase,
        "arm": arm,
        "number": number,
        "seed": design.seed(phase, arm, number),
        "budget_epochs": 3,
        "state": "complete" if state == "diverged" else state,
        "diverged": state == "diverged",
        "params": {"lr": 0.01 * (number + 1)} | noise,
        "value": result if isinstance(result, float) else None,
        "device_seconds": 2.0,
    }
    return Trial(**(fields | changes))  # type: ignore[arg-type]  # fields by name


def study(
    make_spec: Callable[..., StudySpec],
    values: Mapping[str, Sequence[Result]],
    *,
    n_search: int = 4,
    **changes: object,
) -> tuple[Design, list[Trial]]:
    """Return a study with these confirm values; the first arm is the baseline.

    For example `{"baseline": [0.1, "diverged"], "noisy": [0.2, 0.3]}`. Each arm has `n_search`
    search trials, of which the last is the best by a metric to be maximized.
    """
    space = {"eta": {"choices": [0.01, 0.3, 1.0]}, "gamma": {"low": -1.0, "high": 1.0}}
    arms = [{"name": name, "technique": "annealed", "space": space} for name in values]
    arms[0] = {"name": next(iter(values)), "technique": "none"}
    n_seeds = max(2, *map(len, values.values()))
    spec = make_spec(**({"arms": arms, "confirm": {"n_seeds": n_seeds}} | changes))
    design = Design.of(spec)
    trials = [
        trial(design, "search", arm.name, number, 0.1 * (number + 1))
        for arm in spec.arms
        for number in range(n_search)
    ]
    trials += [
        trial(design, "confirm", name, i, value)
        for name, results in values.items()
        for i, value in enumerate(results)
    ]
    return design, trials


def without_search(
    make_spec: Callable[..., StudySpec],
    values: Mapping[str, Sequence[Result]],
    *,
    rates: Sequence[float] = (0.01, 0.1),
    confirm: Mapping[str, object] | None = None,
    **changes: object,
) -> tuple[Design, list[Trial]]:
    """Return a study without a search that runs these learning rates.

    The confirm values are in the order of the seeds, and by rate for each seed.
    """
    space = {"eta": 0.3, "gamma": 0.55}
    arms: list[dict[str, object]] = [
        {"name": name, "technique": "annealed", "space": space} for name in values
    ]
    arms[0] = {"name": next(iter(values)), "technique": "none"}
    n_seeds = max(2, *(-(-len(results) // len(rates)) for results in values.values()))
    fields = {
        "arms": arms,
        "search": None,
        "space": {"lr": {"choices": list(rates)}, "momentum": 0.9},
        "confirm": {"n_seeds": n_seeds, "epochs": 3} | dict(confirm or {}),
    }
    spec = make_spec(**(fields | changes))
    design = GridDesign(spec=spec, n_seeds=spec.confirm.n_seeds)
    settings = {arm.name: design.settings(arm.name) for arm in spec.arms}
    return design, [
        trial(design, "confirm", name, i, value, params=settings[name][i % len(rates)])
        for name, results in values.items()
        for i, value in enumerate(results)
    ]


def points(
    values: Sequence[Result], arm: str = "noisy", **params: Sequence[object] | np.ndarray
) -> list[SearchPoint]:
    """Return an arm's search trials from values and columns of hyperparameters.

    For example `points([0.5, "diverged"], lr=[0.1, 1.0])`.
    """
    return [
        SearchPoint(
            arm=arm,
            number=i,
            seed=i,
            outcome=value if isinstance(value, str) else "complete",  # type: ignore[arg-type]
            value=None if isinstance(value, str) else value,
            best=None,
            params={
                name: column[i] if isinstance(column[i], str | list) else float(column[i])
                for name, column in params.items()
            },
            device_seconds=1.0,
        )
        for i, value in enumerate(values)
    ]
