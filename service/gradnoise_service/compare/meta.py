"""Random-effects meta-analysis: the mean effect over studies, and how much the effects vary.

Study i measures y_i ~ N(theta_i, s_i^2), and its true effect is theta_i ~ N(mu, tau^2). The mean mu
has the interval of Hartung and Knapp (2001) and Sidik and Jonkman (2002), which keeps its level
with few studies (IntHout, Ioannidis and Borm 2014), with equal weights (Shuster 2010). Weights by
the inverse of s_i^2 + tau^2 are slightly more efficient if s_i is known, but s_i is estimated from
a few searches or seeds, and with such weights the interval is too short.
"""

import math
from collections.abc import Sequence

import numpy as np

from gradnoise_service.compare.facts.base import Interval, IntervalMethod
from gradnoise_service.compare.facts.suite import Pooled

FEWEST_EFFECTS = 2
FEWEST_FOR_PREDICTION = 3


def pool(effects: Sequence[float], standard_errors: Sequence[float], *, level: float) -> Pooled:
    """Return the random-effects mean of k independent effects.

    The interval is mean ± t_(k-1) e with e as in `estimates`. The prediction interval, for the true
    effect of a further study, is mean ± t_(k-2) sqrt(tau^2 + e^2) (Higgins, Thompson and
    Spiegelhalter 2009). I^2 is the share tau^2 / (tau^2 + mean s_i^2). If e is
    0, up to rounding, the precision is unknown, and p is 1.

    Args:
        effects: At least 2 finite numbers.
        standard_errors: That of each effect, at least 0.
        level: Confidence level of both intervals, in (0, 1).
    """
    from scipy.special import stdtr, stdtrit  # type: ignore[import-untyped]  # scipy ships no types

    k = len(effects)
    variances = np.square(np.asarray(standard_errors, dtype=float))
    mean, error, tau2 = map(float, estimates(np.asarray(effects, dtype=float), variances))
    if error <= 1e-12 * max(map(abs, effects)):
        error = 0.0
    prediction = None
    if k >= FEWEST_FOR_PREDICTION:
        reach = float(stdtrit(k - 2, (1 + level) / 2)) * math.sqrt(tau2 + error**2)
        prediction = _interval(mean, reach, level)
    return Pooled(
        n=k,
        mean=mean,
        standard_error=error,
        interval=_interval(mean, float(stdtrit(k - 1, (1 + level) / 2)) * error, level),
        p_value=float(2 * stdtr(k - 1, -abs(mean) / error)) if error else 1.0,
        tau=math.sqrt(tau2),
        i_squared=tau2 / (tau2 + float(variances.mean())) if tau2 else 0.0,
        prediction=prediction,
    )


def estimates(
    effects: np.ndarray, variances: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean of effects along the last axis, its standard error e, and tau^2.

    With S^2 the variance of the k effects and V the mean of their variances s_i^2, tau^2 = max(0,
    S^2 - V) (Hedges and Olkin 1985) and e = sqrt(max(S^2, V) / k). S^2 / k is Hartung and Knapp's
    variance with equal weights; V in place of a smaller S^2 keeps effects that agree by chance from
    making the interval too short (Röver, Knapp and Friede 2015).
    """
    spread, within = effects.var(-1, ddof=1), variances.mean(-1)
    error = np.sqrt(np.maximum(spread, within) / effects.shape[-1])
    return effects.mean(-1), error, np.maximum(0.0, spread - within)


def _interval(mean: float, half: float, level: float) -> Interval:
    method: IntervalMethod = "hartung_knapp" if half else "no_width_equal"
    return Interval(low=mean - half, high=mean + half, level=level, method=method)
