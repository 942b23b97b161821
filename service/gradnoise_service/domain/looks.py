"""Sequential testing: the error probability of repeated looks, and levels that control it.

Without a difference, the sums of the paired differences at successive looks are a Brownian motion
at times proportional to the numbers of pairs. The probability that it ever crosses its bounds
follows by recursive integration (Armitage, McPherson and Rowe 1969).
"""

import functools
import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

POCOCK = 0.5
"""Equal levels at every look (Pocock 1977)."""
OBRIEN_FLEMING = 0.0
"""Very small levels at the first looks, nearly all at the last (O'Brien and Fleming 1979)."""
SHAPES = {"pocock": POCOCK, "obrien_fleming": OBRIEN_FLEMING}
LEAST_LEVEL = 1e-12
"""The lowest level of a look: 1 minus it is still distinguishable from 1."""
NORMAL = NormalDist()
N_NODES = 24
REACH = 8.0
N_BLOCK = 64
NEVER = 10.0
"""A bound of |z| that is crossed by chance with probability below 1e-22."""


def crossing_chance(pairs: Sequence[int], bounds: Sequence[float]) -> float:
    """Return the probability that |z| crosses its bound at any look, without a difference.

    The density of the sum that has stayed inside, f_k(s) = integral of f_(k-1)(u) phi((s - u) /
    sqrt(d)) / sqrt(d) du with d the pairs since the previous look, is propagated from look to look
    at Gauss-Legendre nodes.

    Args:
        pairs: Numbers of pairs at the looks, at least 1 and rising.
        bounds: The bound of |z| at each look, above 0.

    >>> round(crossing_chance([10], [1.96]), 3), round(crossing_chance([10, 20], [1.96, 1.96]), 3)
    (0.05, 0.083)
    """
    _check(pairs)
    nodes, density = np.zeros(1), np.ones(1)
    for before, now, bound in zip([0, *pairs], pairs, bounds, strict=False):
        edge = min(bound, NEVER) * math.sqrt(now)
        # looks closer than the nodes resolve are moved apart, by about 1 in 10,000
        step = max(math.sqrt(now - before), edge / 225)
        at, weights = _gauss_legendre(edge, math.ceil(1 + edge / (8 * step)))
        inside = weights * _propagated(nodes, density, at, step)
        # the density is symmetric
        nodes, density = np.concatenate((-at[::-1], at)), np.concatenate((inside[::-1], inside))
    return float(1 - density.sum())


def nominal_levels(pairs: Sequence[int], *, shape: float, alpha: float) -> list[float]:
    """Return the level of each look for which a false verdict at any of them has probability alpha.

    The bounds are c (t_k / t_K)^(shape - 1/2) with a common c (Wang and Tsiatis 1987), t the
    numbers of pairs.

    Args:
        pairs: Numbers of pairs at the looks, at least 1 and rising.
        shape: Wang and Tsiatis' Delta: POCOCK, OBRIEN_FLEMING, or between.
        alpha: Probability of a false verdict at any look, in (0, 1).

    >>> [round(level, 4) for level in nominal_levels([12, 24], shape=POCOCK, alpha=0.05)]
    [0.0294, 0.0294]
    """
    # imported on first use: a process that only shows stored comparisons does without scipy
    from scipy.optimize import brentq  # type: ignore[import-untyped]  # scipy ships no types

    _check(pairs)
    if len(pairs) == 1:
        return [alpha]
    shapes = [(n / pairs[-1]) ** (shape - 0.5) for n in pairs]
    # brackets: below the bound of a single look, and Bonferroni's bound
    low, high = (-NORMAL.inv_cdf(alpha / (2 * n_looks)) for n_looks in (0.9, len(pairs)))
    c = brentq(
        lambda c: crossing_chance(pairs, [c * x for x in shapes]) - alpha, low, high, xtol=1e-9
    )
    return [2 * NORMAL.cdf(-c * x) for x in shapes]


def boundary_levels(looks: Sequence[int], boundary: str, alpha: float) -> tuple[float, ...]:
    """Return the nominal level of each look under a named boundary, at least LEAST_LEVEL each."""
    levels = nominal_levels(looks, shape=SHAPES[boundary], alpha=alpha)
    return tuple(max(LEAST_LEVEL, level) for level in levels)


def two_sided_bound(level: float) -> float:
    """Return the bound of |z| at a two-sided level.

    >>> round(two_sided_bound(0.05), 2)
    1.96
    """
    return -NORMAL.inv_cdf(level / 2)


def _propagated(nodes: np.ndarray, density: np.ndarray, at: np.ndarray, step: float) -> np.ndarray:
    """Return the density at some points after a step of this standard deviation.

    Nodes further than REACH steps from a point do not count, which changes it by less than 1e-14.
    """
    first = np.searchsorted(nodes, at - REACH * step)
    last = np.searchsorted(nodes, at + REACH * step)
    found = np.empty_like(at)
    for i in range(0, len(at), N_BLOCK):
        block = slice(i, i + N_BLOCK)
        near = slice(first[i], last[block][-1])
        kernel = np.exp(-(((at[block, None] - nodes[near]) / step) ** 2) / 2)
        found[block] = kernel @ density[near]
    return found / (step * math.sqrt(2 * math.pi))


def _gauss_legendre(edge: float, n_panels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of a composite rule between 0 and the edge."""
    at, weights = _panel()
    width = edge / n_panels
    nodes = (np.arange(n_panels)[:, None] + (at + 1) / 2) * width
    return nodes.ravel(), np.tile(weights * width / 2, n_panels)


@functools.cache
def _panel() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(N_NODES)


def _check(pairs: Sequence[int]) -> None:
    if not pairs or any(now <= before for before, now in zip([0, *pairs], pairs, strict=False)):
        raise ValueError(
            "pairs must be numbers of at least 1 that rise from look to look, but got "
            f"pairs={list(pairs)}"
        )
