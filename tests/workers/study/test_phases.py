"""Reruns, looks, grids and extensions run exactly the trials that their design plans."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from formula_launcher import FormulaLauncher, failure
from gradnoise.training.trial import Finished, TrialSpec
from gradnoise_service.compare.choosing import choices, finalists
from gradnoise_service.domain.errors import InvalidSpecError
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.search import Storage
from gradnoise_service.store import studies
from gradnoise_service.store.database import Database
from gradnoise_workers.launcher import LauncherEvent
from study_runs import (
    ACCURACY,
    LOOKS,
    ON_SQLITE,
    assert_exactly_as_declared,
    assert_whole_grid,
    diverge_on,
    finish,
    grid,
    read,
    start,
    submit,
    three_arms,
)

Make = Callable[..., StudySpec]
pytestmark = [pytest.mark.usefixtures("without_reports"), ON_SQLITE]


def test_the_best_settings_are_rerun_on_other_seeds_and_the_best_mean_is_confirmed(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    search = {"n_trials": 6, "epochs": 3, "sampler": "random", "rerun": {"top": 3, "n_seeds": 4}}
    study = submit(database, make_spec(search=search, confirm={"n_seeds": 8}), now)
    launcher = FormulaLauncher()
    finish(start(database, storage, launcher, now))
    after, table = read(database, study)
    assert_exactly_as_declared(database, storage, study)
    by_phase = {
        phase: [trial for trial in table if trial.phase == phase]
        for phase in ("search", "rerun", "confirm")
    }
    assert len(launcher.admitted) == len(table) == study.design.n_trials_total == 2 * (6 + 12 + 8)
    assert all(
        len({trial.seed for trial in by_phase["rerun"] if trial.arm == arm}) == 4
        for arm in ("baseline", "noisy")
    )
    assert {trial.seed for trial in by_phase["rerun"]}.isdisjoint(
        {trial.seed for trial in (*by_phase["search"], *by_phase["confirm"])}
    )
    measured_on_test = {spec.seed for spec in launcher.admitted if spec.with_test}
    assert measured_on_test == {trial.seed for trial in by_phase["confirm"]}
    for arm in ("baseline", "noisy"):
        best = finalists(study.design, ACCURACY, table)[arm]
        rerun_settings = [
            [t for t in by_phase["rerun"] if (t.arm, t.number // 4) == (arm, rank)]
            for rank in range(3)
        ]
        assert [{str(t.params) for t in reruns} for reruns in rerun_settings] == [
            {str(trial.params)} for trial in best
        ]
        # within an arm, only seed and learning rate change the result
        lr = max(float(trial.params["lr"]) for trial in best if trial.params)
        chosen = {
            float(trial.params["lr"])
            for trial in by_phase["confirm"]
            if trial.arm == arm and trial.params
        }
        assert chosen == {lr}
    assert after.comparison is not None
    summary = after.comparison["arms"][1]  # type: ignore[index]  # plain values
    choice = choices(study.design, ACCURACY, table)["noisy"]
    assert choice is not None
    assert summary["chosen"][0]["search_value"] == choice.trial.value
    mean = (
        sum(
            t.value or 0.0
            for t in by_phase["rerun"]
            if t.arm == "noisy" and t.params == choice.trial.params
        )
        / 4
    )
    assert (summary["chosen"][0]["value"], summary["rerun"]["n_complete"]) == (
        pytest.approx(mean),
        12,
    )
    assert after.verdict == "helps"


def test_every_search_confirms_its_own_choice(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    """Each search reruns its own best settings; run i of the confirm phase is of search i mod 3."""
    search = {
        "n_trials": 5,
        "epochs": 3,
        "repeats": 3,
        "sampler": "random",
        "rerun": {"top": 2, "n_seeds": 2},
    }
    study = submit(database, make_spec(search=search, confirm={"n_seeds": 7}), now)
    launcher = FormulaLauncher()
    finish(start(database, storage, launcher, now))
    after, table = read(database, study)
    assert_exactly_as_declared(database, storage, study)
    assert len(launcher.admitted) == 2 * (3 * (5 + 4) + 7)
    chosen = [choices(study.design, ACCURACY, table, repeat)["noisy"] for repeat in range(3)]
    settings = [choice.trial.params for choice in chosen if choice]
    assert len({str(setting) for setting in settings}) == 3
    confirmed = {t.number: t.params for t in table if (t.phase, t.arm) == ("confirm", "noisy")}
    assert confirmed == {i: settings[i % 3] for i in range(7)}
    assert after.comparison is not None
    (difference,) = after.comparison["differences"]  # type: ignore[misc]  # plain values
    assert difference["searches"]["n"] == 3
    assert difference["gain_interval"]["method"] == "welch"


@pytest.mark.slow
def test_lost_reruns_count_against_their_setting(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    search = {"n_trials": 4, "epochs": 3, "sampler": "random", "rerun": {"top": 2, "n_seeds": 2}}
    study = submit(database, make_spec(search=search, max_attempts=1), now)
    rerun_seeds = {study.design.seed("rerun", "noisy", i) for i in range(2)}
    ended: list[Finished] = []

    def override(spec: TrialSpec, epoch: int) -> LauncherEvent | None:
        if spec.seed not in rerun_seeds or spec.techniques == ("annealed",) or len(ended) == 2:
            return None
        ended.append(Finished(key=spec.key, diverged=True, seconds=0.1))
        return ended[-1]

    finish(start(database, storage, FormulaLauncher(slots=1, override=override), now))
    _, table = read(database, study)
    assert_exactly_as_declared(database, storage, study)
    first, second = finalists(study.design, ACCURACY, table)["baseline"]
    assert [
        trial.diverged for trial in table if (trial.phase, trial.arm) == ("rerun", "baseline")
    ] == [True, True, False, False]
    assert (
        {str(t.params) for t in table if (t.phase, t.arm) == ("confirm", "baseline")}
        == {str(second.params)}
        != {str(first.params)}
    )


def test_an_extension_runs_only_new_seeds_and_judges_all(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(confirm={"n_seeds": 5}), now)
    finish(start(database, storage, FormulaLauncher(), now))
    first, before = read(database, study)
    assert first.verdict == "undecided"  # five pairs cannot reach significance
    later = now + timedelta(hours=1)
    with database.session(write=True) as session:
        extended = studies.extend(session, study.id, "ada", 3, max_trials=100, now=later)
        progress = studies.progress(session, study.id, later)
    assert [(arm.phase, arm.n_ended, arm.n_trials) for arm in progress.arms] == [
        ("search", 4, 4)
    ] * 2 + [("confirm", 5, 8)] * 2
    launcher = FormulaLauncher()
    finish(start(database, storage, launcher, later))
    after, table = read(database, study)
    assert_exactly_as_declared(database, storage, extended)
    assert [trial for trial in table if trial.phase != "confirm" or trial.number < 5] == before
    new = [trial for trial in table if trial.phase == "confirm" and trial.number >= 5]
    assert len(launcher.admitted) == len(new) == 6
    assert {trial.seed for trial in new} == {
        study.design.seed("confirm", "noisy", i) for i in (5, 6, 7)
    }
    assert (after.state, after.verdict) == ("complete", "helps")
    assert after.comparison is not None
    declared = submit(database, make_spec(name="declared", confirm={"n_seeds": 8}), now)
    finish(start(database, storage, FormulaLauncher(), now))
    expected = read(database, declared)[0].comparison
    assert expected is not None
    # as in a study that declared 8 seeds, except for the earlier look
    assert after.comparison["seeds"] == expected["seeds"]
    # a verdict is impossible at 5 pairs, so they do not count as a look
    assert (after.design.extended_at, after.comparison["looks"], expected["looks"]) == (
        (5,),
        [],
        [],
    )


@pytest.mark.parametrize(
    ("lost", "n_seeds", "verdict"),
    [
        ((), 7, "helps"),
        pytest.param((0,), 16, "helps", marks=pytest.mark.slow),
        pytest.param((0, 1, 2), 20, "undecided", marks=pytest.mark.slow),
    ],
)
def test_a_study_ends_at_the_first_decisive_look(
    database: Database,
    storage: Storage,
    make_spec: Make,
    now: datetime,
    lost: tuple[int, ...],
    n_seeds: int,
    verdict: str,
) -> None:
    """The formula's gain is the same on every seed; a run that diverges loses about 0.4."""
    study = submit(database, make_spec(confirm=LOOKS), now)
    launcher = FormulaLauncher(override=diverge_on(study.spec, *lost))
    finish(start(database, storage, launcher, now))
    after, table = read(database, study)
    assert_exactly_as_declared(database, storage, study, n_seeds)
    assert len(launcher.admitted) == 2 * (4 + n_seeds)
    assert after.verdict == verdict
    assert after.comparison is not None
    assert after.comparison["plan"]["n_seeds"] == n_seeds  # type: ignore[index]  # plain values
    assert (after.comparison["is_final"], after.comparison["verdict"]) == (True, verdict)
    assert {trial.seed for trial in table if trial.phase == "confirm"} == {
        study.design.seed("confirm", "noisy", i) for i in range(n_seeds)
    }


@pytest.mark.slow
def test_a_study_ended_by_a_look_is_extended_from_that_look(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(confirm=LOOKS), now)
    finish(start(database, storage, FormulaLauncher(), now))
    later = now + timedelta(hours=1)
    with database.session(write=True) as session:
        extended = studies.extend(session, study.id, "ada", 2, max_trials=100, now=later)
        progress = studies.progress(session, study.id, later)
    assert [(arm.n_ended, arm.n_trials) for arm in progress.arms if arm.phase == "confirm"] == [
        (7, 9)
    ] * 2
    launcher = FormulaLauncher()
    finish(start(database, storage, launcher, later))
    assert_exactly_as_declared(database, storage, extended)
    after, _ = read(database, study)
    assert len(launcher.admitted) == 2 * 2
    assert (after.design.n_seeds, after.design.looks) == (9, (7, 16, 20))
    assert after.comparison is not None
    assert (after.design.extended_at, after.comparison["looks"]) == ((7,), [7])
    assert len(after.comparison["seeds"]) == 9  # type: ignore[arg-type]  # plain values


def test_a_dropped_arm_stops_at_its_look_and_is_not_extended(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(**three_arms()), now)
    launcher = FormulaLauncher(override=diverge_on(study.spec, 0))
    finish(start(database, storage, launcher, now))
    assert_exactly_as_declared(database, storage, study, 18, {"plain": 8})
    after, _ = read(database, study)
    assert after.comparison is not None
    found = [
        (d["arm"], d["verdict"], d["dropped_at"], d["n"])
        for d in after.comparison["differences"]  # type: ignore[attr-defined]  # plain values
    ]
    assert found == [("plain", "no_difference", 8, 8), ("noisy", "helps", None, 18)]
    later = now + timedelta(hours=1)
    with database.session(write=True) as session:
        extended = studies.extend(session, study.id, "ada", 2, max_trials=100, now=later)
        progress = studies.progress(session, study.id, later)
    declared = {arm.arm: arm.n_trials for arm in progress.arms if arm.phase == "confirm"}
    assert declared == {"baseline": 20, "plain": 8, "noisy": 20}
    launcher = FormulaLauncher()
    finish(start(database, storage, launcher, later))
    assert len(launcher.admitted) == 2 * 2
    assert_exactly_as_declared(database, storage, extended, dropped_at={"plain": 8})
    comparison = read(database, study)[0].comparison
    assert comparison is not None
    assert comparison["differences"][0] == after.comparison["differences"][0]  # type: ignore[index]


def test_a_grid_runs_every_setting_in_every_arm_and_is_extended_by_seeds(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(**grid()), now)
    launcher = FormulaLauncher()
    finish(start(database, storage, launcher, now))
    assert_whole_grid(database, storage, study, 3)
    first, before = read(database, study)
    assert len(launcher.admitted) == study.design.n_trials_total == 12
    assert all(spec.with_test for spec in launcher.admitted)
    assert first.verdict == "helps"
    assert first.comparison is not None
    settings = [point["params"] for point in first.comparison["points"]]  # type: ignore[attr-defined]
    assert settings == study.design.shared_settings  # type: ignore[attr-defined]
    later = now + timedelta(hours=1)
    with database.session(write=True) as session:
        extended = studies.extend(session, study.id, "ada", 2, max_trials=20, now=later)
        progress = studies.progress(session, study.id, later)
    assert [(arm.phase, arm.n_ended, arm.n_trials) for arm in progress.arms] == [
        ("confirm", 6, 10)
    ] * 2
    finish(start(database, storage, FormulaLauncher(), later))
    assert_whole_grid(database, storage, extended, 5)
    after, table = read(database, study)
    assert [trial for trial in table if trial.number < 6] == before
    assert after.comparison is not None
    # plain values
    assert (len(after.comparison["seeds"]), after.comparison["looks"]) == (10, [3])  # type: ignore[arg-type]
    with database.session(write=True) as session, pytest.raises(InvalidSpecError) as caught:
        studies.extend(session, study.id, "ada", 2, max_trials=27, now=later)
    assert [(fault.field, fault.value, fault.legal) for fault in caught.value.errors] == [
        ("seeds", 2, "at most 1 more seeds")
    ]


def test_a_grid_ends_at_the_first_decisive_look(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    """A look at 4 seeds covers 8 pairs."""
    study = submit(database, make_spec(**grid(10, looks=[4, 8], boundary="pocock")), now)
    finish(start(database, storage, FormulaLauncher(), now))
    assert_whole_grid(database, storage, study, 4)
    assert read(database, study)[0].verdict == "helps"


def boom(spec: TrialSpec) -> LauncherEvent:
    """Return a failure with another message for each seed, which do not end the study at once."""
    return failure(spec, f"ValueError: boom {spec.seed}")


def test_a_grid_fails_if_every_trial_fails(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(**grid(), max_attempts=1), now)
    finish(start(database, storage, FormulaLauncher(override=lambda spec, _epoch: boom(spec)), now))
    after, _ = read(database, study)
    assert after.state == "failed"
    assert str(after.error).startswith("Every trial failed. The first error:")
    assert re.search(r"ValueError: boom \d+$", str(after.error))


def test_a_grid_fails_if_every_trial_of_an_arm_fails(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(**grid(), max_attempts=1), now)

    def override(spec: TrialSpec, _epoch: int) -> LauncherEvent | None:
        return boom(spec) if spec.techniques == ("none",) else None

    finish(start(database, storage, FormulaLauncher(override=override), now))
    after, _ = read(database, study)
    assert after.state == "failed"
    assert str(after.error).startswith("Every trial of baseline in the confirm phase failed. The ")


def test_an_unequal_budget_gives_each_arm_its_number_of_trials(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    arms = [arm.model_dump(exclude_defaults=True) for arm in make_spec().arms]
    search = {"n_trials": 2, "epochs": 3, "sampler": "random", "rerun": {"top": 3, "n_seeds": 1}}
    study = submit(
        database,
        make_spec(
            arms=[arms[0], arms[1] | {"n_trials": 5}], budget={"equal": "none"}, search=search
        ),
        now,
    )
    with database.session() as session:
        planned = studies.progress(session, study.id, now)
    finish(start(database, storage, FormulaLauncher(), now))
    assert_exactly_as_declared(database, storage, study)
    after, table = read(database, study)
    assert (
        len(table)
        == study.design.n_trials_total
        == sum(arm.n_trials for arm in planned.arms)
        == 2 + 5 + 2 + 3 + 2 * 5
    )
    assert after.comparison is not None
    assert after.comparison["is_final"]
    assert after.comparison["findings"][0]["kind"] == "unequal_budgets"  # type: ignore[index]
