"""Progress counts the trials that a phase really has."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from gradnoise_service.domain.design import Design
from gradnoise_service.domain.progress import TrialCounts, progress
from gradnoise_service.domain.study import Metric, Study

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_search_without_a_setting_has_no_confirm_runs(
    make_design: Callable[..., Design],
    make_study: Callable[[Design, Metric], Study],
    accuracy: Metric,
) -> None:
    """The phase ends at 100 %; before it starts, and with looks, its planned runs are counted.

    It starts for each arm after the arm's reruns.
    """
    search = {"n_trials": 4, "epochs": 3, "repeats": 3}
    before = [
        TrialCounts(phase=phase, arm=arm, n_trials=n, n_ended=n)
        for phase, n in (("search", 12), ("rerun", 27))
        for arm in ("baseline", "noisy")
    ]
    stored = [
        TrialCounts(phase="confirm", arm="baseline", n_trials=6, n_ended=6),
        TrialCounts(phase="confirm", arm="noisy", n_trials=4, n_ended=4),
    ]
    study = replace(
        make_study(make_design(search=search, confirm={"n_seeds": 6}), accuracy), state="running"
    )
    for given, changes, n_trials in (
        (stored, {}, [6, 4]),
        (stored[:1], {}, [6, 0]),
        ([stored[0], replace(before[3], n_ended=26)], {}, [6, 6]),
        ([], {}, [6, 6]),
        (stored, {"state": "queued"}, [6, 6]),
        (stored, {"state": "complete"}, [6, 4]),
    ):
        found = progress(replace(study, **changes), [*before, *given], NOW)
        assert [arm.n_trials for arm in found.arms if arm.phase == "confirm"] == n_trials
    looks = make_study(make_design(search=search, confirm={"n_seeds": 6, "looks": [3]}), accuracy)
    found = progress(replace(looks, state="running"), [*before, *stored], NOW)
    assert [arm.n_trials for arm in found.arms if arm.phase == "confirm"] == [6, 6]
