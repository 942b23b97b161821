"""The honest comparison: pure functions from a study's trials to what they say of its question."""

from gradnoise_service.compare.assembly import at_look, compare
from gradnoise_service.compare.choosing import choose, finalists
from gradnoise_service.compare.comparison import Comparison

__all__ = ["Comparison", "at_look", "choose", "compare", "finalists"]
