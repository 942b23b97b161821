"""The report of a suite: its answers in facts and words, as JSON, HTML or Markdown."""

import functools
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.compare.facts.suite import Answer, SuiteComparison, VariesOver
from gradnoise_service.domain.study import Study
from gradnoise_service.report.html import render_template
from gradnoise_service.report.markdown_syntax import escaped, table
from gradnoise_service.report.words.numbers import (
    MISSING,
    as_words,
    confidence,
    duration,
    number,
    p_value,
    percent,
    signed,
    span,
)
from gradnoise_service.report.words.settings import chosen, setting, techniques
from gradnoise_service.report.words.suite import (
    EFFECT_NOTE,
    PICKED_NOTE,
    PLURALS,
    answer_sentence,
    why_left_out,
)

Member = tuple[Study, Comparison | None]
"""A study with its comparison; None before it is complete."""
SETTINGS_HEADER = (
    "study",
    "workload",
    "arm",
    "recipe",
    "chosen setting",
    "mean",
    "trials",
    "device time",
)
HEADER = ("study", "workload", "gain", "smallest that matters", "effect", "interval", "verdict")


class ReportedAnswer(Answer):
    """An answer with its sentences."""

    sentence: str


class SuiteReport(SuiteComparison):
    """The answers of a suite in facts and words; `sentence` is that of the first."""

    sentence: str
    answers: tuple[ReportedAnswer, ...]


def document(suite: SuiteComparison) -> SuiteReport:
    """Return the report of a suite's comparison."""
    answers = tuple(
        ReportedAnswer(**dict(answer), sentence=answer_sentence(suite, answer))
        for answer in suite.answers
    )
    facts = dict(suite) | {"answers": answers}
    return SuiteReport(**facts, sentence=answers[0].sentence)


def html(suite: SuiteComparison, members: Sequence[Member] = (), *, has_links: bool = False) -> str:
    """Return the report as a self-contained page.

    Args:
        suite: The comparison.
        members: The studies, whose settings and costs are shown below it.
        has_links: Whether the names of studies link to their pages, below the root of the service.
    """
    # matplotlib is imported with the first report: other processes do without it
    from gradnoise_service.report.figures import as_element
    from gradnoise_service.report.figures.forest import forest

    report = document(suite)
    return render_template(
        "suite.html",
        suite=report,
        pictures=[
            Markup(as_element(functools.partial(forest, answer, suite.varies_over)))
            for answer in report.answers
        ],
        tables=[effect_table(answer) for answer in report.answers],
        header=HEADER,
        facts=[pooled_facts(answer, suite.varies_over) for answer in report.answers],
        notes=[EFFECT_NOTE, *([PICKED_NOTE] if suite.varies_over == "study" else [])],
        settings=list(settings_table(members)),
        settings_header=SETTINGS_HEADER,
        addresses={study.spec.name: f"studies/{study.id}" for study, _ in members if has_links},
    )


def markdown(suite: SuiteComparison) -> str:
    """Return the report as Markdown."""
    return "\n".join(_lines(document(suite))) + "\n"


def effect_table(answer: Answer) -> list[tuple[str, ...]]:
    """Return a row of `HEADER` for each study."""
    return [
        (
            effect.study,
            effect.workload,
            f"{signed(effect.gain)} {effect.metric}" if effect.gain is not None else MISSING,
            number(effect.smallest_difference),
            signed(effect.effect),
            span(effect.interval),
            why_left_out(effect) or as_words(effect.verdict or MISSING),
        )
        for effect in answer.effects
    ]


def settings_table(members: Sequence[Member]) -> Iterator[tuple[str, ...]]:
    """Yield a row of `SETTINGS_HEADER` for each arm of each study."""
    for study, comparison in members:
        options = setting(study.spec.options)
        for arm in study.spec.arms:
            found = None if comparison is None else comparison.arm(arm.name)
            recipe = study.spec.recipe(arm)
            yield (
                study.spec.name,
                f"{study.spec.workload}, {options}" if study.spec.options else study.spec.workload,
                arm.name,
                f"{techniques(recipe.techniques)}, {recipe.optimizer}",
                MISSING if found is None else chosen(found),
                MISSING if found is None else number(found.mean),
                MISSING if found is None else str(sum(t.n_ended for t in found.tallies.values())),
                MISSING if found is None else duration(found.device_seconds),
            )


def pooled_facts(answer: Answer, over: VariesOver = "workload") -> list[tuple[str, str]]:
    """Return the pooled numbers of an answer with their names."""
    found = answer.pooled
    if found is None:
        return []
    level = confidence(found.interval.level)
    return [
        ("mean effect", signed(found.mean)),
        (f"its {level} interval", span(found.interval)),
        ("p", p_value(answer.p_value)),
        (f"{level} prediction interval", span(found.prediction)),
        (f"standard deviation between {PLURALS[over]}", number(found.tau)),
        (f"share of the variance between {PLURALS[over]}", percent(found.i_squared)),
    ]


def _lines(suite: SuiteReport) -> Iterator[str]:
    yield f"# {escaped(suite.name)}"
    for answer in suite.answers:
        arms = f"{escaped(answer.arm)} against {escaped(answer.baseline)}"
        yield from ("", f"**{as_words(answer.verdict)}** ({arms}): {escaped(answer.sentence)}")
        yield from ("", *table(HEADER, effect_table(answer)))
        if facts := pooled_facts(answer, suite.varies_over):
            yield from ("", *(f"- {name}: {escaped(value)}" for name, value in facts))
    yield from ("", EFFECT_NOTE)
