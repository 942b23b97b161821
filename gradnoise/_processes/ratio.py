"""The size of the noise of an update, relative to its gradient."""

import math

from gradnoise._processes.process import NoiseProcess


def noise_to_gradient(
    process: NoiseProcess | None, t: int, n_weights: int, gradient_norm: float
) -> dict[str, float]:
    """Return `noise_to_gradient`: the norm of an update's gradient noise over that of its gradient.

    The norm of the noise is the expected norm, sigma_t sqrt(n_weights). The gradient is the clipped
    gradient. The result is empty where there is no gradient noise, where a preconditioner gives
    each coordinate another size, or where the gradient's norm is 0 or not finite.
    """
    if process is None or process.preconditioner is not None or not 0 < gradient_norm < math.inf:
        return {}
    return {"noise_to_gradient": process.std(t) * math.sqrt(n_weights) / gradient_norm}
