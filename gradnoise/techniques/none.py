"""Plain training: the side that every technique is held against."""

from gradnoise.techniques.base import Technique


def none() -> None:
    """Return what plain training applies: nothing."""


TECHNIQUE = Technique(
    name="none",
    description="Plain training, without noise.",
    formula="g_t <- g_t",
    source="the baseline of Neelakantan et al. 2015, arXiv:1511.06807",
    effect=none,
)
