"""A design follows from its spec: phases, trials, seeds, budgets, looks and levels."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradnoise_service.domain.design import Design
from gradnoise_service.domain.looks import POCOCK, crossing_chance, nominal_levels, two_sided_bound
from gradnoise_service.domain.search_key import SearchKey
from gradnoise_service.domain.sequential import ALPHA, Extension, fewest_pairs
from gradnoise_service.domain.spec import StudySpec

Make = Callable[..., StudySpec]
MAX_PAIRS = 10_000

GRID = {
    "search": None,
    "space": {
        "lr": {"choices": [0.1, 0.01]},
        "momentum": {"low": 0.0, "high": 0.9, "step": 0.45},
        "lr_every_epochs": 2,
    },
    "confirm": {"n_seeds": 5, "epochs": 7},
    "arms": [
        {"name": "a", "technique": "none"},
        {"name": "b", "technique": "annealed", "space": {"eta": 0.3, "gamma": 0.5}},
    ],
}


def tuned(**search: object) -> StudySpec:
    return StudySpec.model_validate(
        {
            "name": "s",
            "workload": "mlp",
            "smallest_difference": 0.1,
            "space": {"lr": {"low": 0.1, "high": 1.0}},
            "search": {"n_trials": 4, "epochs": 3} | search,
            "confirm": {"n_seeds": 5, "epochs": 9},
            "seed": 1,
        }
    )


def extension(n_seeds: int, at_n: int) -> Extension:
    return Extension(
        n_seeds=n_seeds,
        at_n=at_n,
        verdict="undecided",
        extended_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("rerun", "phases", "n_reruns"),
    [
        ({}, ("search", "rerun", "confirm"), 9),
        ({"top": 9}, ("search", "rerun", "confirm"), 12),
        ({"top": 2, "n_seeds": 5}, ("search", "rerun", "confirm"), 10),
        ({"top": 1}, ("search", "confirm"), 0),
        ({"n_seeds": 0}, ("search", "confirm"), 0),
    ],
)
def test_phases_of_a_tuned_design(
    rerun: dict[str, int], phases: tuple[str, ...], n_reruns: int
) -> None:
    """No more settings than trials are rerun; a single setting or no seed omits the phase."""
    design = Design.of(tuned(rerun=rerun))
    assert design.phases == phases
    assert design.n_trials("rerun", "noisy") == n_reruns
    assert design.n_trials_total == 2 * (4 + n_reruns + 5)
    assert [design.epochs(phase) for phase in design.phases] == [3] * (len(phases) - 1) + [9]
    assert design.n_epochs_total == 2 * ((4 + n_reruns) * 3 + 5 * 9)


def test_unequal_budgets_are_counted_by_arm(make_spec: Make) -> None:
    arms = [
        {"name": "baseline", "technique": "none"},
        {"name": "noisy", "technique": "none", "n_trials": 9},
    ]
    design = Design.of(make_spec(arms=arms, budget={"equal": "none"}))
    assert [design.n_trials("search", arm.name) for arm in design.spec.arms] == [4, 9]
    assert design.n_trials_total == 4 + 9 + 2 * 5


def test_search_trials_alternate_between_arms_and_share_seeds() -> None:
    trials = Design.of(tuned()).trials("search")
    assert [(t.number, t.arm) for t in trials] == [
        (i, arm) for i in range(4) for arm in ("baseline", "noisy")
    ]
    assert all(t.params is None and t.budget_epochs == 3 for t in trials)
    assert len({(t.number, t.seed) for t in trials}) == 4


def test_reruns_put_every_setting_on_the_same_seeds() -> None:
    design = Design.of(tuned(rerun={"top": 2, "n_seeds": 3}))
    settings = {"noisy": [{"lr": 0.2}, {"lr": 0.3}], "baseline": [{"lr": 0.1}]}
    trials = design.trials("rerun", settings)
    noisy = [trial for trial in trials if trial.arm == "noisy"]
    assert [(t.number, t.params) for t in noisy] == [
        *((i, {"lr": 0.2}) for i in range(3)),
        *((3 + i, {"lr": 0.3}) for i in range(3)),
    ]
    assert [t.seed for t in noisy] == [design.seed("rerun", "noisy", i) for i in range(3)] * 2
    assert [(t.number, t.arm) for t in trials][:2] == [(0, "baseline"), (0, "noisy")]


def test_confirm_runs_share_seeds_across_arms_and_differ_from_the_search() -> None:
    design = Design.of(tuned())
    confirm = design.trials("confirm", {"baseline": [{"lr": 0.1}], "noisy": [{"lr": 0.2}]})
    assert Counter(t.arm for t in confirm) == {"baseline": 5, "noisy": 5}
    assert all(t.budget_epochs == 9 for t in confirm)
    by_arm = {arm: [t.seed for t in confirm if t.arm == arm] for arm in ("baseline", "noisy")}
    assert by_arm["baseline"] == by_arm["noisy"]
    assert not set(by_arm["noisy"]) & {t.seed for t in design.trials("search")}


def test_an_arm_without_a_setting_has_no_confirm_runs() -> None:
    trials = Design.of(tuned()).trials("confirm", {"noisy": [{"lr": 0.2}]})
    assert {trial.arm for trial in trials} == {"noisy"}
    with pytest.raises(ValueError, match="confirm needs the settings"):
        Design.of(tuned()).trials("confirm")


def test_a_grid_runs_every_combination_of_the_shared_space(make_spec: Make) -> None:
    design = Design.of(make_spec(**GRID))
    assert design.phases == ("confirm",)
    assert (design.n_settings, design.n_pairs, design.n_trials_total) == (6, 30, 60)
    assert (design.epochs("confirm"), design.n_trials("search", "a")) == (7, 0)
    trials = design.trials("confirm")
    of_arm = [trial for trial in trials if trial.arm == "b"]
    settings = [(t.params["lr"], t.params["momentum"]) for t in of_arm if t.params]
    assert settings[:6] == [
        (0.1, 0.0), (0.1, 0.45), (0.1, 0.9), (0.01, 0.0), (0.01, 0.45), (0.01, 0.9)
    ]  # fmt: skip
    assert settings == settings[:6] * 5
    assert of_arm[1].params == {
        "lr": 0.1, "momentum": 0.45, "lr_every_epochs": 2, "eta": 0.3, "gamma": 0.5
    }  # fmt: skip
    assert trials == sorted(trials, key=lambda trial: trial.number)
    assert design.at(8).n_pairs == 48


def test_every_planned_count_matches_the_planned_trials(make_spec: Make) -> None:
    settings = {"baseline": [{"lr": 0.1}] * 3, "noisy": [{"lr": 0.2}] * 3}
    chosen = {arm: finalists[:1] for arm, finalists in settings.items()}
    for design in (Design.of(tuned()), Design.of(make_spec(**GRID))):
        for phase in design.phases:
            planned = design.trials(phase, settings if phase == "rerun" else chosen)
            counts = Counter(trial.arm for trial in planned)
            assert counts == {a.name: design.n_trials(phase, a.name) for a in design.spec.arms}
            assert len({(t.arm, t.number) for t in planned}) == len(planned)


@given(seed=st.integers(0, 2**48 - 1), number=st.integers(0, MAX_PAIRS))
def test_seeds_are_stable_and_differ_between_phases(seed: int, number: int) -> None:
    design = Design.of(tuned().model_copy(update={"seed": seed}))
    seed_of_search = design.seed("search", "noisy", number)
    assert seed_of_search == design.seed("search", "baseline", number)
    assert seed_of_search != design.seed("confirm", "noisy", number)
    assert 0 <= seed_of_search < 2**48


@pytest.mark.parametrize(
    ("pruner", "epochs", "rungs"),
    [
        ("none", 10, ()),
        ({"name": "median", "warmup_epochs": 3, "every_epochs": 3}, 10, (3, 6, 9)),
        ("median", 1, ()),
        ({"name": "asha", "warmup_epochs": 2, "reduction_factor": 3}, 20, (2, 6, 18)),
        ({"name": "asha", "warmup_epochs": 9}, 9, ()),
    ],
)
def test_rungs_are_below_the_budget(pruner: object, epochs: int, rungs: tuple[int, ...]) -> None:
    design = Design.of(tuned(pruner=pruner, epochs=epochs))
    assert design.rungs("search") == rungs
    assert design.rungs("confirm") == ()


def test_an_arm_extends_the_shared_space() -> None:
    design = Design.of(tuned())
    assert list(design.space("baseline")) == ["lr"]
    assert list(design.space("noisy")) == ["lr", "eta", "gamma"]


def test_search_keys_separate_arms_from_phases(make_spec: Make) -> None:
    """An arm may have the name of a phase."""
    arms = [{"name": "confirm", "technique": "none"}, {"name": "rerun", "technique": "none"}]
    design = Design.of(make_spec(arms=arms, search={"n_trials": 2, "epochs": 1}))
    assert design.search_keys == (
        SearchKey(phase="search", arm="confirm"),
        SearchKey(phase="search", arm="rerun"),
        SearchKey(phase="rerun"),
        SearchKey(phase="confirm"),
    )
    assert len({key.label for key in design.search_keys}) == 4
    assert design.search_key("search", "confirm", 0) != design.search_key("confirm", "confirm", 0)
    assert Design.of(make_spec(**GRID)).search_keys == (SearchKey(phase="confirm"),)


def test_the_look_follows_from_the_declared_runs(make_spec: Make) -> None:
    design = Design.of(make_spec(confirm={"n_seeds": 24, "looks": [12, 18]}))
    looks = [design.at_look(n).n_seeds for n in (0, 1, 12, 13, 18, 19, 24)]
    assert looks == [12, 12, 12, 18, 18, 24, 24]
    assert [design.at(n).is_last_look for n in (12, 18, 24)] == [False, False, True]
    assert design.at(12).after_look().n_seeds == 18
    grid = Design.of(make_spec(**(GRID | {"confirm": {"n_seeds": 12, "epochs": 7, "looks": [6]}})))
    assert [grid.at_look(n).n_seeds for n in (0, 36, 37)] == [6, 6, 12]


def test_levels_of_declared_looks_control_the_error(make_spec: Make) -> None:
    spec = make_spec(confirm={"n_seeds": 24, "looks": [12, 18], "boundary": "pocock"})
    design = Design.of(spec)
    assert list(design.levels) == nominal_levels([12, 18, 24], shape=POCOCK, alpha=0.05)
    bounds = [two_sided_bound(level) for level in design.levels]
    assert crossing_chance([12, 18, 24], bounds) == pytest.approx(0.05, abs=1e-6)
    assert design.at(18).level == design.levels[1]
    assert design.at(40).level == design.levels[-1]
    assert Design.of(make_spec()).level == 0.05


def test_several_comparisons_share_the_error(make_spec: Make) -> None:
    arms = [{"name": name, "technique": "none"} for name in ("a", "b", "c")]
    design = Design.of(make_spec(arms=arms))
    assert (design.n_comparisons, design.alpha, design.level) == (2, 0.025, 0.025)
    assert design.fewest_pairs == fewest_pairs(0.025) == 7


def test_an_extension_adds_seeds_after_the_verdict(make_spec: Make) -> None:
    spec = make_spec(confirm={"n_seeds": 12})
    extended = Design.of(spec, [extension(8, at_n=12), extension(5, at_n=20)])
    assert (extended.n_seeds, extended.extended_at) == (25, (12, 20))
    assert extended.earlier_looks == (12, 20)
    bound = two_sided_bound(0.05)
    chance = crossing_chance([12, 20, 25], [bound] * 3)
    assert extended.false_verdict_chance == pytest.approx(chance)
    assert Design.of(spec).false_verdict_chance == 0.05


def test_an_extension_of_a_study_that_a_look_ended_keeps_its_looks(make_spec: Make) -> None:
    spec = make_spec(confirm={"n_seeds": 24, "looks": [12, 18]})
    extended = Design.of(spec, [extension(4, at_n=18)])
    assert (extended.n_seeds, extended.looks) == (22, (12, 18, 24))
    assert extended.earlier_looks == (12, 18)
    assert extended.at_look(22) == extended
    assert extended.is_last_look


def test_earlier_looks_without_enough_pairs_do_not_count(make_spec: Make) -> None:
    extended = Design.of(make_spec(confirm={"n_seeds": 3}), [extension(9, at_n=3)])
    assert extended.earlier_looks == ()


REPEATED = {"repeats": 3, "rerun": {"top": 2, "n_seeds": 2}}


def test_repeated_searches_have_trials_seeds_and_samplers_of_their_own() -> None:
    design = Design.of(tuned(**REPEATED))
    assert [design.n_trials(phase, "noisy") for phase in design.phases] == [12, 12, 5]
    noisy = [trial for trial in design.trials("search") if trial.arm == "noisy"]
    # the searches run side by side: first the first trial of each
    assert [t.number for t in noisy] == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
    assert len({t.seed for t in noisy}) == 12
    keys = [design.search_key("search", "noisy", number) for number in (3, 4, 11)]
    assert [(key.repeat, key.label) for key in keys] == [
        (0, "noisy"),
        (1, "noisy search 2"),
        (2, "noisy search 3"),
    ]
    seeds = {design.sampler_seed(key.arm, key.repeat) for key in design.search_keys if key.arm}
    assert len(seeds) == 6


def test_each_search_reruns_its_finalists_on_seeds_of_its_own() -> None:
    """The second search found one setting only: the numbers of the others are left out."""
    design = Design.of(tuned(**REPEATED))
    found = [{"lr": 0.1 * i} for i in range(1, 6)]
    trials = design.trials("rerun", {"noisy": [*found[:3], None, *found[3:]]})
    by_number = sorted(trials, key=lambda trial: trial.number)
    assert [t.number for t in by_number] == [0, 1, 2, 3, 4, 5, 8, 9, 10, 11]
    assert [t.params for t in by_number] == [setting for setting in found for _ in range(2)]
    assert by_number[0].seed == by_number[2].seed
    assert len({t.seed for t in by_number}) == 6


def test_the_searches_take_the_confirm_seeds_in_turn() -> None:
    design = Design.of(tuned(**REPEATED))
    settings = {
        "baseline": [{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3}],
        "noisy": [{"lr": 0.4}, None, {"lr": 0.6}],
    }
    trials = design.trials("confirm", settings)
    for arm, of_arm in settings.items():
        params = {t.number: t.params for t in trials if t.arm == arm}
        assert params == {i: of_arm[i % 3] for i in range(5) if of_arm[i % 3] is not None}
    assert [design.place("confirm", "noisy", i)[0] for i in range(5)] == [0, 1, 2, 0, 1]


@given(
    repeats=st.integers(1, 20),
    n_trials=st.integers(1, 12),
    top=st.integers(1, 5),
    n_seeds=st.integers(0, 3),
)
def test_every_trial_has_a_place_in_its_search(
    repeats: int, n_trials: int, top: int, n_seeds: int
) -> None:
    spec = tuned(repeats=repeats, n_trials=n_trials, rerun={"top": top, "n_seeds": n_seeds})
    design = Design.of(spec)
    for phase in design.phases[:-1]:
        n = design.n_trials(phase, "noisy")
        places = [design.place(phase, "noisy", number) for number in range(n)]
        assert places == sorted(places)
        assert len(set(places)) == n
        assert Counter(repeat for repeat, _ in places) == dict.fromkeys(
            range(repeats), n // repeats
        )


def test_an_always_valid_verdict_is_not_affected_by_extensions(make_spec: Make) -> None:
    design = Design.of(make_spec(confirm={"n_seeds": 12, "anytime": True}))
    extended = design.extended(12).extended(8)
    assert (extended.n_seeds, extended.extended_at) == (32, (12, 24))
    assert (extended.false_verdict_chance, extended.earlier_looks) == (ALPHA, ())
    assert (extended.level, extended.is_last_look, extended.is_sequential) == (ALPHA, True, False)
    longer = extended.lengthened(5)
    assert longer.false_verdict_chance == pytest.approx(2 * ALPHA)
    assert longer.lengthened(5).false_verdict_chance == pytest.approx(3 * ALPHA)
    single = Design.of(make_spec(confirm={"n_seeds": 12})).extended(12)
    assert single.false_verdict_chance == pytest.approx(
        crossing_chance([12, 24], [two_sided_bound(0.05)] * 2)
    )


def test_verdicts_on_runs_of_each_length_add_to_the_error(make_spec: Make) -> None:
    """Looks at growing numbers of seeds are correlated, those at other lengths in any way."""
    design = Design.of(make_spec(confirm={"n_seeds": 12, "epochs": 9}))
    longer = design.lengthened(3)
    assert (longer.n_seeds, longer.confirm_lengths, longer.epochs("search")) == (12, (9, 12), 3)
    assert longer.false_verdict_chance == pytest.approx(2 * ALPHA)
    two_looks = crossing_chance([12, 24], [two_sided_bound(0.05)] * 2)
    for mixed in (longer.extended(12), design.extended(12).lengthened(3)):
        assert mixed.confirm_lengths == (9, 12)
        assert mixed.false_verdict_chance == pytest.approx(ALPHA + two_looks)
    # no verdict was possible at 4 seeds, so that none was seen
    few = Design.of(make_spec(confirm={"n_seeds": 4})).lengthened(3)
    assert few.false_verdict_chance == pytest.approx(ALPHA)
    assert longer.search_key("confirm", "noisy", 0) == SearchKey(phase="confirm", epochs=12)
    assert longer.search_keys[-2:] == (
        SearchKey(phase="confirm"),
        SearchKey(phase="confirm", epochs=12),
    )
