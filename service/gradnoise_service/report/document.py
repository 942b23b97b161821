"""Report: a comparison with its words, the content of the JSON report and of other formats."""

from gradnoise_service.compare.facts.base import Frozen
from gradnoise_service.compare.facts.comparison import Comparison, Difference
from gradnoise_service.compare.facts.diagnostics import Diagnostics
from gradnoise_service.compare.recipes import parts
from gradnoise_service.domain.study import Study
from gradnoise_service.report.words.conditions import Labelled, held_equal
from gradnoise_service.report.words.recipes import choice, label
from gradnoise_service.report.words.remarks import remarks
from gradnoise_service.report.words.verdict import sentence
from gradnoise_service.report.words.warnings import warning

LEADING = ("unequal_budgets", "small_search", "few_near_best")
"""Kinds of findings that precede the verdict."""


class LabelledText(Frozen):
    """A text with a label."""

    name: str
    value: str


class ReportedDifference(Difference):
    """A difference with its verdict as sentences."""

    sentence: str


class ReportedDiagnostics(Diagnostics):
    """Diagnostics with remarks on the search."""

    remarks: tuple[LabelledText, ...] = ()


class RecipeRow(Frozen):
    """A part of the arms' recipes, with each arm's choice as text, by arm."""

    name: str
    values: dict[str, str]
    differs: bool


class Report(Comparison):
    """A comparison in facts and words.

    Args:
        recipes: What differs between the arms, then what is equal.
        sentence: That of the first difference.
        held_equal: What was equal in all arms.
        warnings: The findings in words, the most severe first.
    """

    sentence: str
    differences: tuple[ReportedDifference, ...]
    recipes: tuple[RecipeRow, ...]
    held_equal: tuple[LabelledText, ...]
    warnings: tuple[str, ...]
    diagnostics: ReportedDiagnostics = ReportedDiagnostics()

    @property
    def leads(self) -> tuple[str, ...]:
        """The warnings before the verdict: that the arms were tuned unequally or too little."""
        return self._warnings(are_leading=True)

    @property
    def limitations(self) -> tuple[str, ...]:
        """The warnings after the verdict."""
        return self._warnings(are_leading=False)

    @property
    def is_tuned_equally(self) -> bool:
        """Whether every arm had the declared equal budget."""
        return all(finding.kind != "unequal_budgets" for finding in self.findings)

    def _warnings(self, *, are_leading: bool) -> tuple[str, ...]:
        return tuple(
            text
            for finding, text in zip(self.findings, self.warnings, strict=True)
            if (finding.kind in LEADING) == are_leading
        )


def document(study: Study, comparison: Comparison) -> Report:
    """Return the report of a study's comparison."""
    design, c = study.design, comparison
    differences = tuple(
        ReportedDifference(**dict(difference), sentence=sentence(c, difference))
        for difference in c.differences
    )
    diagnostics = ReportedDiagnostics(
        **dict(c.diagnostics), remarks=_labelled(list(remarks(design, c)))
    )
    facts = dict(c) | {"differences": differences, "diagnostics": diagnostics}
    return Report(
        **facts,
        sentence=differences[0].sentence,
        recipes=tuple(
            RecipeRow(
                name=label(part),
                values={arm.name: choice(part, arm.name) for arm in design.spec.arms},
                differs=part.differs,
            )
            for part in parts(design)
        ),
        held_equal=_labelled(list(held_equal(design, study.metric))),
        warnings=tuple(warning(design, c, finding) for finding in c.findings),
    )


def _labelled(texts: list[Labelled]) -> tuple[LabelledText, ...]:
    return tuple(LabelledText(name=name, value=value) for name, value in texts)
