"""A technique: gradients of equal length."""

import gradnoise
from gradnoise.workloads import Parameter, total_norm

LENGTH = Parameter(name="length", description="Norm of every gradient; 1 by default.", low=0)


@gradnoise.technique(
    on="gradient",
    formula="g_t <- length g_t / |g_t|",
    source="an example of gradnoise",
    parameters=[LENGTH],
)
def normalised(gradient, length: float = 1.0):
    """Scale every gradient to the same norm."""
    scale = length / (total_norm(gradient) + 1e-12)
    return {name: part * scale for name, part in gradient.items()}
