"""Studies whose outcome is chosen: trials with given values."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from gradnoise_service.compare.comparison import SearchPoint
from gradnoise_service.domain.spec import Phase, StudySpec
from gradnoise_service.domain.study import Trial

Result = float | str
"""A confirm run's value, or what became of it instead: `diverged`, `failed`, `running`, `waiting`,
`cancelled`.
"""


def trial(
    spec: StudySpec, phase: Phase, arm: str, number: int, result: Result, **changes: object
) -> Trial:
    """Return one trial: `trial(spec, "search", "noisy", 3, 0.5)`."""
    state = result if isinstance(result, str) else "complete"
    fields: dict[str, object] = {
        "id": number,
        "study_id": 1,
        "phase": phase,
        "arm": arm,
        "number": number,
        "seed": spec.trial_seed(phase, number),
        "budget_epochs": 3,
        "state": "complete" if state == "diverged" else state,
        "diverged": state == "diverged",
        "params": {"lr": 0.01 * (number + 1)}
        | ({"eta": 0.3, "gamma": 0.1 * number} if arm != "baseline" else {}),
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
) -> tuple[StudySpec, list[Trial]]:
    """Return a study with these confirm values, `{"baseline": [0.1, "diverged"], "noisy": [0.2,
    0.3]}`, the first arm its baseline.

    Each arm has searched `n_search` trials, of which the last is the best by a metric to be
    maximized.
    """
    space = {"eta": {"choices": [0.01, 0.3, 1.0]}, "gamma": {"low": -1.0, "high": 1.0}}
    arms = [{"name": name, "technique": "annealed", "space": space} for name in values]
    arms[0] = {"name": next(iter(values)), "technique": "none"}
    n_seeds = max(2, *(len(of_arm) for of_arm in values.values()))
    spec = make_spec(**({"arms": arms, "confirm": {"n_seeds": n_seeds}} | changes))
    trials = [
        trial(spec, "search", arm.name, number, 0.1 * (number + 1))
        for arm in spec.arms
        for number in range(n_search)
    ]
    trials += [
        trial(spec, "confirm", name, i, value)
        for name, of_arm in values.items()
        for i, value in enumerate(of_arm)
    ]
    return spec, trials


def points(
    values: Sequence[Result], arm: str = "noisy", **params: Sequence[object] | np.ndarray
) -> list[SearchPoint]:
    """Return an arm's search trials from values and hyperparameters, a column each: `points([0.5,
    "diverged"], lr=[0.1, 1.0])`.
    """
    return [
        SearchPoint(
            arm=arm,
            number=i,
            seed=i,
            # an outcome
            outcome=value if isinstance(value, str) else "complete",  # type: ignore[arg-type]
            value=None if isinstance(value, str) else value,
            best=None,
            params={
                name: column[i] if isinstance(column[i], str) else float(column[i])
                for name, column in params.items()
            },
            device_seconds=1.0,
        )
        for i, value in enumerate(values)
    ]


def without_search(
    make_spec: Callable[..., StudySpec],
    values: Mapping[str, Sequence[Result]],
    *,
    rates: Sequence[float] = (0.01, 0.1),
    **changes: object,
) -> tuple[StudySpec, list[Trial]]:
    """Return a study without a search over these learning rates, with confirm values seed by seed
    and in each by rate, as `study` does.
    """
    arms: list[dict[str, object]] = [
        {"name": name, "technique": "annealed", "space": {"eta": 0.3, "gamma": 0.55}}
        for name in values
    ]
    arms[0] = {"name": next(iter(values)), "technique": "none"}
    n_seeds = max(2, *(-(-len(of_arm) // len(rates)) for of_arm in values.values()))
    fields = {
        "arms": arms,
        "search": None,
        "space": {"lr": {"choices": list(rates)}, "momentum": 0.9},
    }
    # a mapping
    confirm = {"n_seeds": n_seeds, "epochs": 3} | changes.pop("confirm", {})  # type: ignore[operator]
    spec = make_spec(**(fields | {"confirm": confirm} | changes))
    points = {arm.name: spec.points(arm.name) for arm in spec.arms}
    return spec, [
        trial(spec, "confirm", name, i, value, params=points[name][i % len(rates)])
        for name, of_arm in values.items()
        for i, value in enumerate(of_arm)
    ]
