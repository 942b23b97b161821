"""Plain training, with which every technique is compared."""

from gradnoise.techniques.base import Technique
from gradnoise.techniques.contribution import NOTHING, Contribution


def none() -> Contribution:
    """Return what plain training applies: nothing."""
    return NOTHING


TECHNIQUE = Technique(
    name="none",
    description="Plain training, without noise.",
    formula="g_t <- g_t",
    source="the baseline of Neelakantan et al. 2015, arXiv:1511.06807",
    contribute=none,
)
