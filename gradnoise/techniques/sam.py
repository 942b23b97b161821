"""Sharpness-aware minimisation."""

from gradnoise.parameters import Parameter
from gradnoise.techniques.declare import technique
from gradnoise.techniques.functions import Tensors, total_norm


@technique(
    on="perturbation",
    description=(
        "Takes the gradient at the weights moved by a small step uphill; an update costs two "
        "gradients."
    ),
    formula="g_t <- grad L(w_t + rho g_t / |g_t|), |g_t| the L2 norm over all parameters",
    source="SAM of Foret et al. 2021, arXiv:2010.01412",
    parameters=(
        Parameter(
            name="rho",
            description="Length of the step uphill, in units of weights; 0.05 by default.",
            low=0,
        ),
    ),
)
def sam(gradient: Tensors, rho: float = 0.05) -> Tensors:
    """Return rho g / |g|, equation 2 of Foret et al. 2021 (arXiv:2010.01412) with p = 2."""
    scale = rho / (total_norm(gradient) + 1e-12)
    return {name: part * scale for name, part in gradient.items()}
