"""The answer of a suite as sentences, and why a study has no effect in it."""

from gradnoise_service.compare.facts.suite import (
    Answer,
    LeftOut,
    StudyEffect,
    SuiteComparison,
    VariesOver,
)
from gradnoise_service.report.words.numbers import (
    confidence,
    count,
    listed,
    percent,
    percent_span,
    signed,
    span,
)

EFFECT_NOTE = (
    "An effect is a study's gain divided by its smallest difference that matters: 1 just matters, "
    "above 0 is better."
)
PLURALS: dict[VariesOver, str] = {"workload": "workloads", "study": "studies"}
PICKED_NOTE = (
    "These studies were picked by a reader. A choice that is made after their results are known "
    "biases the mean, and no error probability holds for it."
)
REASONS: dict[LeftOut, str] = {
    "waiting": "not ended",
    "cancelled": "cancelled",
    "failed": "failed",
    "other_arms": "compares other arms",
    "no_verdict": "its runs give no verdict",
}


def answer_sentence(suite: SuiteComparison, answer: Answer) -> str:
    """Return the sentences of an answer, or of why there is none."""
    left_out, over = _left_out(answer), suite.varies_over
    match answer.no_verdict:
        case "waiting":
            have = "has" if suite.n_studies == 1 else "have"
            so_far = f" So far: {_measured(answer, over)}." if answer.pooled else ""
            return (
                f"No verdict: it is given once every study has ended; {suite.n_ended} of "
                f"{count(suite.n_studies, 'study', 'studies')} {have} ended.{so_far}{left_out}"
            )
        case "too_few":
            n = sum(effect.effect is not None for effect in answer.effects)
            of = "suite" if over == "workload" else "comparison"
            return (
                f"No verdict: a {of} needs the effects of at least 2 studies, and has {n}."
                f"{left_out}"
            )
        case _:
            return (
                f"{_claim(answer, over)}: {_measured(answer, over)}; {_reason(answer)}."
                f"{_variation(answer, over)}"
                f"{_helped(answer)}{left_out}"
            )


def why_left_out(effect: StudyEffect) -> str:
    """Return why a study has no effect; empty if it has one."""
    return REASONS[effect.left_out] if effect.left_out else ""


def _claim(answer: Answer, over: VariesOver) -> str:
    where = f"on average over these {PLURALS[over]}"
    match answer.verdict:
        case "no_difference":
            return f"{answer.arm} makes no difference that matters {where}"
        case "undecided":
            return f"Undecided whether {answer.arm} helps or hurts {where}"
        case verdict:
            return f"{answer.arm} {verdict} {where}"


def _measured(answer: Answer, over: VariesOver) -> str:
    found = answer.pooled
    assert found is not None
    return (
        f"mean effect {signed(found.mean)} times the smallest difference that matters "
        f"({confidence(found.interval.level)} interval {span(found.interval)}) over "
        f"{count(found.n, over, PLURALS[over])}"
    )


def _reason(answer: Answer) -> str:
    match answer.reason:
        case "interval_within":
            return "the interval lies within ±1"
        case "interval_beyond":
            return "the whole interval lies beyond 1"
        case "interval_excludes_zero":
            return "the interval excludes 0 but not effects below 1"
        case "interval_includes_zero":
            return "the interval includes both 0 and effects that matter (1 or more)"
        case _:
            return "equal effects do not show how precise their mean is"


def _variation(answer: Answer, over: VariesOver) -> str:
    found = answer.pooled
    if found is None or found.prediction is None:
        return ""
    return (
        f" The effect {'on' if over == 'workload' else 'in'} a further {over} of this kind is "
        f"predicted between "
        f"{signed(found.prediction.low)} and {signed(found.prediction.high)} "
        f"({confidence(found.prediction.level)}); {percent(found.i_squared)} of the variance of "
        f"the effects is between {PLURALS[over]}."
    )


def _helped(answer: Answer) -> str:
    counts = (
        (answer.n_helps, "helps"),
        (answer.n_hurts, "hurts"),
        (answer.n_no_difference, "no difference"),
        (
            answer.n_complete - answer.n_helps - answer.n_hurts - answer.n_no_difference,
            "undecided",
        ),
    )
    verdicts = listed([f"{n} {verdict}" for n, verdict in counts if n])
    return (
        f" Verdicts of the {count(answer.n_complete, 'study', 'studies')}: {verdicts}; share "
        f"helped {percent(answer.n_helps / answer.n_complete)} ({percent_span(answer.helped)})."
    )


def _left_out(answer: Answer) -> str:
    """Return the studies that have ended without an effect."""
    found = [e for e in answer.effects if e.left_out not in (None, "waiting")]
    if not found:
        return ""
    return f" Left out: {listed([f'{e.study} ({why_left_out(e)})' for e in found])}."
