"""Looking early: what several verdicts on growing data do to the chance of a false one, and the
levels that keep it.

Under no difference the sums of the pairs' differences, one look after the other, are a Brownian
motion seen at times that are proportional to the numbers of pairs. The chance that it was ever
outside its bounds follows by recursive integration (Armitage, McPherson and Rowe 1969).
"""

import functools
import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

POCOCK = 0.5
"""Equal levels at every look (Pocock 1977)."""
OBRIEN_FLEMING = 0.0
"""Hardly any at the first looks, almost all at the last (O'Brien and Fleming 1979)."""
NORMAL = NormalDist()
N_NODES = 200
NEVER = 10.0
"""A bound of |z| that is crossed by chance in fewer than 1 of 10^22 studies."""


def crossing_chance(pairs: Sequence[int], bounds: Sequence[float]) -> float:
    """Return the chance that without any difference |z| reaches its bound at one of the looks at
    least.

    The density of the sum that has stayed inside, f_k(s) = integral of f_(k-1)(u) phi((s - u) /
    sqrt(d)) / sqrt(d) du with d the pairs since the look before, is carried from look to look at
    Gauss-Legendre nodes.

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
        # looks too close for the nodes are moved apart, by some 1 in 10,000
        step = max(math.sqrt(now - before), edge / 225)
        at, weights = _gauss_legendre(N_NODES * math.ceil(1 + edge / (25 * step)))
        at, weights = edge * at, edge * weights
        kernel = np.exp(-(((at[:, None] - nodes) / step) ** 2) / 2) / (
            step * math.sqrt(2 * math.pi)
        )
        nodes, density = at, weights * (kernel @ density)
    return float(1 - density.sum())


def nominal_levels(pairs: Sequence[int], *, shape: float, alpha: float) -> list[float]:
    """Return the level of each declared look that together make the chance of a false verdict
    alpha.

    The bounds are c (t_k / t_K)^(shape - 1/2) with one c for all (Wang and Tsiatis 1987), t the
    numbers of pairs.

    Args:
        pairs: Numbers of pairs at the looks, at least 1 and rising.
        shape: Wang and Tsiatis' Delta: POCOCK, OBRIEN_FLEMING, or between.
        alpha: Chance of a false verdict in the whole study, in (0, 1).

    >>> [round(level, 4) for level in nominal_levels([12, 24], shape=POCOCK, alpha=0.05)]
    [0.0294, 0.0294]
    """
    # scipy is loaded when something is computed: a process that only shows stored comparisons stays
    # small
    from scipy.optimize import brentq  # type: ignore[import-untyped]  # scipy ships no types

    _check(pairs)
    if len(pairs) == 1:
        return [alpha]
    shapes = [(n / pairs[-1]) ** (shape - 0.5) for n in pairs]
    # less than one look takes; Bonferroni's bound
    low, high = (-NORMAL.inv_cdf(alpha / (2 * n_looks)) for n_looks in (0.9, len(pairs)))
    c = brentq(
        lambda c: crossing_chance(pairs, [c * x for x in shapes]) - alpha, low, high, xtol=1e-9
    )
    return [2 * NORMAL.cdf(-c * x) for x in shapes]


@functools.cache
def _gauss_legendre(n_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(n_nodes)


def _check(pairs: Sequence[int]) -> None:
    if not pairs or any(now <= before for before, now in zip([0, *pairs], pairs, strict=False)):
        raise ValueError(
            "pairs must be numbers of at least 1 that rise from look to look, but got "
            f"pairs={list(pairs)}"
        )
