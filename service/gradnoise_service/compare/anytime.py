"""The always-valid boundary: a p-value and an interval that hold at every number of pairs at once.

Notation: d_i is the i-th paired difference, m a centre, y_i = d_i - m, s_i the standard deviation
of d_1 to d_i. If the differences are symmetric about m, either sign of y_i is equally likely, so

    E_n(m) = product over i <= n of exp(lambda_i y_i) / cosh(lambda_i y_i)

has the mean 1 for every lambda_i that depends on d_1 to d_(i-1) and |y_i| alone: it is an e-process
(de la Pena 1999). By Ville's inequality it ever reaches 1 / a with a probability of at most a, so
the centres whose E_n never reached it are a confidence sequence (Howard et al. 2021). No bound on
the values is needed, and the number of pairs may be chosen after they were seen.

A bet c > 0 has lambda_i = c / max(s_(i-1), max over j <= i of |y_j| / sqrt(i)). Its factor 2 / (1 +
exp(-2 lambda_i y_i)) is the likelihood ratio of a normal difference with the mean c s against an
equal mixture of the means c s and -c s. E_n is the mean over the bets 1, 1/2, 1/4, ..., 1/128 with
weights proportional to sqrt(c). It falls as m rises, so each end of the interval is a single root.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from gradnoise_service.compare.facts.base import Interval
from gradnoise_service.domain.sequential import BETS, fewest_anytime_pairs

WEIGHTS = np.sqrt(BETS) / np.sum(np.sqrt(BETS))
N_HALVINGS = 60
MOST_REPEATED = 10_000
"""Pairs up to which the pairs that a verdict needs are looked for."""


def log_e_values(differences: np.ndarray, centre: np.ndarray | float = 0.0) -> np.ndarray:
    """Return log E_n after each difference, against a centre of symmetry of at most `centre`.

    Args:
        differences: Finite numbers, in the order of the pairs along the last axis.
        centre: The centre m, in the unit of the differences; its last axis is of size 1.
    """
    y = np.asarray(differences, dtype=float) - centre
    n = np.arange(1, y.shape[-1] + 1)
    scale = np.maximum(
        _earlier_deviations(differences), np.maximum.accumulate(np.abs(y), axis=-1) / np.sqrt(n)
    )
    x = np.divide(y, scale, out=np.zeros_like(y), where=scale > 0)
    bets = np.array(BETS).reshape(-1, *[1] * y.ndim)
    factors = math.log(2) - np.logaddexp(0, -2 * bets * x)
    total: np.ndarray = np.logaddexp.reduce(
        np.log(WEIGHTS.reshape(bets.shape)) + np.cumsum(factors, axis=-1), axis=0
    )
    return total


def anytime_p(differences: Sequence[float]) -> float:
    """Return the two-sided p-value min(1, 2 / max of E) against symmetry about 0.

    The maximum is over both signs of the differences and all numbers of pairs so far: the p-value
    never rises with further pairs, and it falls to a or below for symmetric differences at any of
    them with a probability of at most a.

    Args:
        differences: At least 1 finite number, in the order of the pairs.

    >>> round(anytime_p([0.2, 0.1, 0.3, 0.3, 0.2, 0.5, 0.3, 0.2]), 3)
    0.035
    """
    x = np.asarray(differences, dtype=float)
    highest = max(float(np.max(log_e_values(signed))) for signed in (x, -x))
    return min(1.0, 2 * math.exp(-highest))


def anytime_interval(differences: Sequence[float], *, level: float) -> Interval:
    """Return the running confidence sequence of the centre of symmetry, after these differences.

    It holds the centres m that no number of pairs so far has rejected: log_e_values of d - m and of
    m - d stayed below log(2 / (1 - level)). It excludes 0 if and only if `anytime_p` is at most 1 -
    level. If no centre is left, which symmetric differences lead to with a probability of at most 1
    - level, it holds those that the present number of pairs does not reject, of which there are
    always some.

    Args:
        differences: Finite numbers in the order of the pairs, at least `fewest_anytime_pairs(1 -
            level)`.
        level: Confidence level over all numbers of pairs, in (0, 1).

    Raises:
        ValueError: If there are too few differences for a bounded interval.
    """
    x = np.asarray(differences, dtype=float)
    fewest = fewest_anytime_pairs(1 - level)
    if len(x) < fewest:
        raise ValueError(f"differences must be at least {fewest}, but got {len(x)}")
    bound = math.log(2 / (1 - level))
    ends = [_lower_end(signed, lambda e: float(np.max(e)) >= bound) for signed in (x, -x)]
    if ends[0] > -ends[1]:
        ends = [_lower_end(signed, lambda e: float(e[-1]) >= bound) for signed in (x, -x)]
    return Interval(low=ends[0], high=0.0 - ends[1], level=level, method="anytime")


def pairs_to_decide(
    differences: Sequence[float], *, smallest_difference: float, level: float
) -> int | None:
    """Return after how many pairs the interval decides if these differences repeat in this order.

    It decides where it excludes 0, or lies within the smallest difference on both sides.

    Args:
        differences: Finite numbers that do not decide.
        smallest_difference: The smallest difference that matters, above 0, in their unit.
        level: Confidence level, in (0, 1).

    Returns:
        More pairs than the differences; None if 10,000 do not decide.
    """
    repeated = np.resize(np.asarray(differences, dtype=float), MOST_REPEATED)
    bound = math.log(2 / (1 - level))

    def is_rejected(centre: float) -> list[np.ndarray]:
        return [
            np.maximum.accumulate(log_e_values(signed, centre)) >= bound
            for signed in (repeated, -repeated)
        ]

    decides = np.logical_or.reduce(is_rejected(0.0)) | np.logical_and.reduce(
        is_rejected(-smallest_difference)
    )
    n = len(differences)
    if n >= MOST_REPEATED or decides[n - 1] or not decides[-1]:
        return None
    return int(np.argmax(decides)) + 1


def _earlier_deviations(differences: np.ndarray) -> np.ndarray:
    """Return the standard deviation of the differences before each; 0 before the third."""
    shifted = differences - differences[..., :1]
    unit = np.max(np.abs(shifted), axis=-1, keepdims=True)
    z = np.divide(shifted, unit, out=np.zeros_like(shifted), where=unit > 0)
    n = np.arange(1, z.shape[-1])
    sums, squares = np.cumsum(z, axis=-1)[..., :-1], np.cumsum(z * z, axis=-1)[..., :-1]
    variances = np.maximum(squares - sums**2 / n, 0) / np.maximum(n - 1, 1)
    deviations: np.ndarray = unit * np.concatenate(
        [np.zeros_like(z[..., :1]), np.sqrt(variances)], axis=-1
    )
    return deviations


def _lower_end(x: np.ndarray, is_rejected: Callable[[np.ndarray], bool]) -> float:
    """Return the lowest centre whose log e-values are not rejected; the largest x never is."""
    step, high = float(np.ptp(x)) or 1.0, float(np.max(x))
    low = float(np.min(x)) - step
    while not is_rejected(log_e_values(x, low)):
        step *= 2
        low -= step
    for _ in range(N_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_rejected(log_e_values(x, middle)) else (low, middle)
    return high
