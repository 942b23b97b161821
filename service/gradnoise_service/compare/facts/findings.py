"""Findings: why there is no verdict, and reasons to doubt a verdict; `kind` discriminates them."""

from typing import Annotated, Literal

from pydantic import Field

from gradnoise_service.compare.facts.base import Frozen
from gradnoise_service.compare.facts.diagnostics import Divergence
from gradnoise_service.compare.facts.luck import (
    FewNearBest,
    IgnoredBySampler,
    RepeatedSearch,
    SmallSearch,
    UnknownLuck,
)
from gradnoise_service.compare.facts.recipes import SameRecipe, SeveralChanges, UnequalRanges
from gradnoise_service.domain.space import Value
from gradnoise_service.domain.spec import Phase


class Waiting(Frozen):
    """Not every declared trial has ended, or the study continues to its next declared look.

    `undecided_at` holds the numbers of seeds of the looks that did not decide.
    """

    kind: Literal["waiting"] = "waiting"
    n_cancelled: int = 0
    undecided_at: tuple[int, ...] = ()


class StoppedEarly(Frozen):
    """The study was stopped on request before its confirm phase."""

    kind: Literal["stopped_early"] = "stopped_early"
    phase: Phase


class NoSetting(Frozen):
    """A search of an arm has no trial that is complete or diverged, so it has no setting."""

    kind: Literal["no_setting"] = "no_setting"
    arm: str


class EveryTrialLost(Frozen):
    """Every trial of a search of an arm, or every rerun, was lost: a setting is not tuned."""

    kind: Literal["every_trial_lost"] = "every_trial_lost"
    arm: str
    phase: Phase


class EveryRunFailed(Frozen):
    """Every confirm run of an arm failed with an error."""

    kind: Literal["every_run_failed"] = "every_run_failed"
    arm: str


class EveryRunLost(Frozen):
    """Every confirm run of both arms diverged or failed."""

    kind: Literal["every_run_lost"] = "every_run_lost"


class NeitherLearned(Frozen):
    """No confirm run of either arm is better than the untrained model by the smallest difference.

    `best` is the best value of the models of `n_seeds` seeds before their first update.
    """

    kind: Literal["neither_learned"] = "neither_learned"
    best: float
    n_seeds: int


class TooFewPairs(Frozen):
    """Fewer pairs than the exact test needs to reach its level."""

    kind: Literal["too_few_pairs"] = "too_few_pairs"
    n_needed: int


NoVerdict = Annotated[
    Waiting
    | StoppedEarly
    | NoSetting
    | EveryTrialLost
    | EveryRunFailed
    | EveryRunLost
    | NeitherLearned
    | TooFewPairs,
    Field(discriminator="kind"),
]
"""Why the data do not support any verdict."""


class NoTestData(Frozen):
    """The workload measures no test data: arms are judged on those that selected the settings."""

    kind: Literal["no_test_data"] = "no_test_data"


class UnreadParameters(Frozen):
    """A training function of an arm read none of these hyperparameters."""

    kind: Literal["unread_parameters"] = "unread_parameters"
    arm: str
    names: tuple[str, ...]


class NoiseDrowns(Frozen):
    """With the lowest values of its space, an arm's noise is `ratio` times the gradient's norm."""

    kind: Literal["noise_drowns"] = "noise_drowns"
    arm: str
    ratio: float


class UnequalBudgets(Frozen):
    """The arms were tuned with different numbers of search trials."""

    kind: Literal["unequal_budgets"] = "unequal_budgets"
    n_trials: dict[str, int]


class UnequalDeviceTime(Frozen):
    """The searches were to take equal device seconds, and did not."""

    kind: Literal["unequal_device_time"] = "unequal_device_time"
    seconds: dict[str, float]


class LostTrials(Frozen):
    """`n` of the `n_declared` trials of an arm in a phase diverged or failed.

    `error` is the first error in one line, of trials that failed.
    """

    kind: Literal["lost_trials"] = "lost_trials"
    arm: str
    phase: Phase
    outcome: Literal["diverged", "failed"]
    n: int
    n_declared: int
    error: str = ""


class DivergedLater(Frozen):
    """`n` trials of an arm in a phase diverged after the best epoch, whose value counts."""

    kind: Literal["diverged_later"] = "diverged_later"
    arm: str
    phase: Phase
    n: int
    n_declared: int


class CodeChanged(Frozen):
    """The code of these parts changed between runs, which one verdict covers."""

    kind: Literal["code_changed"] = "code_changed"
    parts: tuple[str, ...]


class Stopped(Frozen):
    """A stop on request cut the searches or the confirm runs to what every arm had started.

    Args:
        phase: What it cut.
        n: Of the trials of each search, or of the confirm seeds, those that count.
        n_declared: The declared number.
        n_left_out: Trials that had started beyond, in all arms; they do not count.
    """

    kind: Literal["stopped"] = "stopped"
    phase: Phase
    n: int
    n_declared: int
    n_left_out: int = 0


class Retried(Frozen):
    """`n_trials` failed trials were run again, after the study had ended.

    `verdicts` are those that it had given before.
    """

    kind: Literal["retried"] = "retried"
    n_trials: int
    verdicts: tuple[str, ...] = ()


class WorseThanWorst(Frozen):
    """A confirm run measured `measured`, worse than the metric's declared worst value."""

    kind: Literal["worse_than_worst"] = "worse_than_worst"
    measured: float
    declared: float


class UntunedSetting(Frozen):
    """All ended trials of a search of an arm diverged: its setting is the first that was tried."""

    kind: Literal["untuned_setting"] = "untuned_setting"
    arm: str


class EarlyStop(Frozen):
    """The study ended at a declared look before its last seed.

    With an `arm`, the arm was dropped there while others continued.
    """

    kind: Literal["early_stop"] = "early_stop"
    n_seeds: int
    n_declared: int
    arm: str | None = None


class AllTied(Frozen):
    """An arm and the baseline have equal values on every seed."""

    kind: Literal["all_tied"] = "all_tied"
    arm: str
    baseline: str


class AtEdge(Frozen):
    """The values that some searches chose lie at an end of their range.

    A better value may lie outside.
    """

    kind: Literal["at_edge"] = "at_edge"
    arm: str
    parameter: str
    values: tuple[Value, ...]
    end: Literal["lower", "upper"]


class BestSetting(Frozen):
    """The best mean of an arm over the seeds of a setting, with the values that identify it."""

    arm: str
    mean: float
    params: dict[str, Value]


class NothingTuned(Frozen):
    """The verdict is about the mean over several settings that were not tuned."""

    kind: Literal["nothing_tuned"] = "nothing_tuned"
    n_settings: int
    best: tuple[BestSetting, ...]


class UnequalDivergence(Frozen):
    """An arm diverged significantly more or less often than the baseline."""

    kind: Literal["unequal_divergence"] = "unequal_divergence"
    divergence: Divergence


class StillLearning(Frozen):
    """An arm's mean validation value still improved over the last fifth of the epochs."""

    kind: Literal["still_learning"] = "still_learning"
    arm: str
    from_epoch: int
    to_epoch: int
    gain: float


class NoiseScale(Frozen):
    """The ratio of noise norm to gradient norm was beyond a limit in `n` of `n_measured` epochs."""

    kind: Literal["noise_negligible", "noise_dominant"]
    arm: str
    limit: float
    n: int
    n_measured: int


Finding = Annotated[
    UnequalBudgets
    | UnequalDeviceTime
    | NoTestData
    | UnreadParameters
    | NoiseDrowns
    | SeveralChanges
    | UnequalRanges
    | SameRecipe
    | SmallSearch
    | IgnoredBySampler
    | FewNearBest
    | RepeatedSearch
    | UnknownLuck
    | LostTrials
    | DivergedLater
    | CodeChanged
    | Retried
    | Stopped
    | WorseThanWorst
    | UntunedSetting
    | EarlyStop
    | AllTied
    | AtEdge
    | NothingTuned
    | UnequalDivergence
    | StillLearning
    | NoiseScale,
    Field(discriminator="kind"),
]
"""A reason to doubt a verdict."""
