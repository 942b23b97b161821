"""Findings as warnings: what a reader should know before trusting the verdict."""

from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.compare.facts.diagnostics import Divergence
from gradnoise_service.compare.facts.findings import (
    AllTied,
    AtEdge,
    CodeChanged,
    DivergedLater,
    EarlyStop,
    Finding,
    LostTrials,
    NoiseDrowns,
    NoiseScale,
    NoTestData,
    NothingTuned,
    Retried,
    StillLearning,
    Stopped,
    UnequalBudgets,
    UnequalDeviceTime,
    UnequalDivergence,
    UnreadParameters,
    UntunedSetting,
    WorseThanWorst,
)
from gradnoise_service.compare.facts.luck import (
    FewNearBest,
    IgnoredBySampler,
    RepeatedSearch,
    SmallSearch,
    UnknownLuck,
)
from gradnoise_service.compare.facts.recipes import SameRecipe, SeveralChanges, UnequalRanges
from gradnoise_service.compare.facts.tables import ArmSummary
from gradnoise_service.domain.design import Design
from gradnoise_service.report.words.numbers import count, duration, listed, number, p_value, percent
from gradnoise_service.report.words.recipes import same_recipe, several_changes, unequal_ranges
from gradnoise_service.report.words.rehearsal import drowns, unread
from gradnoise_service.report.words.search import (
    few_near_best,
    ignored_by_sampler,
    repeated_search,
    small_search,
    unknown_luck,
)
from gradnoise_service.report.words.settings import best_mean, space


def warning(design: Design, comparison: Comparison, finding: Finding) -> str:
    """Return a finding as a warning."""
    match finding:
        case UnequalBudgets():
            return (
                f"The arms were not tuned equally: {budgets(finding.n_trials)}. More trials find a "
                "better setting regardless of the technique."
            )
        case UnreadParameters():
            return unread(finding)
        case NoiseDrowns():
            return drowns(finding)
        case NoTestData():
            return (
                "The workload measures no test data: settings were selected on the same validation "
                "data on which the arms are compared, on fresh seeds. The selection biases "
                "every arm's mean towards better values, more so the more settings it tried."
            )
        case UnequalDeviceTime(seconds=seconds):
            times = ", ".join(f"{arm} {duration(of_arm)}" for arm, of_arm in seconds.items())
            ratio = number(max(seconds.values()) / min(seconds.values()))
            return (
                f"The searches did not take equal device time, as was declared: {times}, the most "
                f"{ratio} times the least. The costs of a trial, by which the numbers of trials "
                "were set, were not those of the search, for example because trials ended early."
            )
        case SeveralChanges():
            return several_changes(finding)
        case UnequalRanges():
            return unequal_ranges(design, finding)
        case SameRecipe():
            return same_recipe(finding)
        case SmallSearch():
            return small_search(finding)
        case IgnoredBySampler():
            return ignored_by_sampler(finding)
        case FewNearBest():
            return few_near_best(comparison, finding)
        case RepeatedSearch():
            return repeated_search(comparison, finding)
        case UnknownLuck():
            return unknown_luck(finding)
        case LostTrials():
            return _lost_trials(comparison, finding)
        case DivergedLater():
            return (
                f"{finding.n} of {finding.arm}'s {finding.n_declared} {finding.phase} trials "
                "diverged after their best epoch on validation, whose value counts as declared."
            )
        case CodeChanged(parts=parts):
            return (
                f"The code of {', '.join(parts)} changed between the runs of this study: the "
                "verdict covers runs of the old and of the new code."
            )
        case Stopped():
            return _stopped(comparison, finding)
        case Retried(n_trials=n_trials, verdicts=verdicts):
            plural = "the verdicts" if len(verdicts) > 1 else "the verdict"
            before = f", after {plural} {listed(verdicts)}" if verdicts else ""
            return (
                f"{count(n_trials, 'failed trial')} ran again on request{before}: without the "
                "retry they would count as lost."
            )
        case WorseThanWorst(measured=measured, declared=declared):
            return (
                f"A run measured {comparison.metric} {number(measured)}, worse than "
                f"{number(declared)}, the worst value that the workload declares: a lost run "
                f"counts as {number(comparison.worst)}, worse than every measured run."
            )
        case UntunedSetting(arm=arm):
            return (
                f"{_every_ended_trial(comparison.arm(arm))} diverged: its setting is the first "
                "that was tried, not a tuned one."
            )
        case EarlyStop(n_seeds=n_seeds, n_declared=n_declared, arm=arm):
            return (
                f"{f'{arm} was dropped' if arm else 'The study ended'} early, at {n_seeds} of "
                f"{n_declared} seeds, because of its interim result: means after such a stop are "
                "biased, away from 0 if it stopped for a difference. The level of the interval and "
                "the error probability of the verdict remain valid."
            )
        case AllTied(arm=arm, baseline=baseline):
            return (
                f"{arm} and {baseline} tied on every seed: either the metric is too coarse or "
                "neither arm learned anything."
            )
        case AtEdge(arm=arm, parameter=parameter):
            values = dict.fromkeys(map(number, finding.values))
            chosen = f"{parameter} = {' and '.join(values)} {'lies' if len(values) == 1 else 'lie'}"
            return (
                f"{arm}'s chosen {chosen} at the {finding.end} end of its "
                f"space ({space(design.space(arm)[parameter])}): a better value may lie outside."
            )
        case NothingTuned(n_settings=n_settings, best=best):
            means = ", ".join(f"{mean.arm} {best_mean(mean)}" for mean in best)
            return (
                f"Nothing was tuned: the verdict is on the mean over {n_settings} settings, good "
                "and bad. Each arm's best mean over a setting, selected on the same data and "
                f"so biased: {means}."
            )
        case UnequalDivergence(divergence=divergence):
            return _divergence(divergence)
        case StillLearning():
            return (
                f"{finding.arm} had not finished learning: from epoch {finding.from_epoch} to "
                f"{finding.to_epoch} its mean validation {comparison.metric} still improved by "
                f"{number(finding.gain)}, at least the smallest difference that matters "
                f"({number(comparison.smallest_difference)}). Longer training may change the "
                "verdict: `gradnoise extend --epochs` continues the runs."
            )
        case NoiseScale():
            return _noise_scale(finding)


def budgets(n_trials: dict[str, int]) -> str:
    """Return the numbers of search trials by arm: `baseline 4 trials, noisy 9 trials`."""
    return ", ".join(f"{arm} {count(n, 'trial')}" for arm, n in n_trials.items())


def _every_ended_trial(arm: ArmSummary) -> str:
    n = len(arm.chosen)
    if n == 1:
        return f"Every ended search trial of {arm.name}"
    return f"Every ended trial in {arm.n_untuned} of {arm.name}'s {n} searches"


def _stopped(comparison: Comparison, stopped: Stopped) -> str:
    left_out = (
        f" {count(stopped.n_left_out, 'trial')} that only some arms had started do not count."
        if stopped.n_left_out
        else ""
    )
    if stopped.phase == "search":
        return (
            f"The search was stopped on request: the first {stopped.n} of {stopped.n_declared} "
            f"trials count, in every arm. The verdict is about this budget, which was not "
            f"declared.{left_out}"
        )
    chance = (
        ""
        if comparison.anytime
        else " A stop may depend on what was seen, so the error probability is up to "
        f"{percent(comparison.false_verdict_chance)}, not 5 %."
    )
    return (
        f"The study was stopped on request: {stopped.n} of {stopped.n_declared} confirm seeds "
        f"decide.{chance}{left_out}"
    )


def _lost_trials(c: Comparison, finding: LostTrials) -> str:
    verb = "failed with an error" if finding.outcome == "failed" else "diverged"
    counted = f": a lost run counts as {number(c.worst)}" if finding.phase == "confirm" else ""
    return (
        f"{finding.n} of {finding.arm}'s {finding.n_declared} {finding.phase} trials {verb}"
        f"{counted}.{f' The first error: {finding.error}' if finding.error else ''}"
    )


def _divergence(d: Divergence) -> str:
    is_more = d.n_diverged * d.baseline_n > d.baseline_n_diverged * d.n
    return (
        f"{d.arm} diverged {'more' if is_more else 'less'} often than {d.baseline} in the "
        f"{d.phase} phase: {d.n_diverged} of {d.n} against {d.baseline_n_diverged} of "
        f"{d.baseline_n} trials (Fisher's exact test, p = {p_value(d.p_value)})."
    )


def _noise_scale(finding: NoiseScale) -> str:
    share = "all" if finding.n == finding.n_measured else f"{finding.n} of {finding.n_measured}"
    scale = (
        f"below {number(finding.limit)} times that of the gradient in {share} measured epochs: too "
        "small to have much effect"
        if finding.kind == "noise_negligible"
        else f"above {number(finding.limit)} times that of the gradient in {share} measured "
        "epochs: the updates were mostly noise"
    )
    return f"The norm of {finding.arm}'s noise was {scale}."
