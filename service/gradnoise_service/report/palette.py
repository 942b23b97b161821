"""The colours of the report's page and figures, in a light and a dark set."""

LIGHT = {
    "paper": "#fbfaf8",
    "card": "#ffffff",
    "ink": "#1d2328",
    "muted": "#636c74",
    "line": "#e2e0db",
    "band": "#eeece6",
    "good": "#1f7a4d",
    "bad": "#b3382c",
    "unsure": "#8a6212",
    "even": "#55606a",
    "arm0": "#7d868f",
    "arm1": "#2f5d8a",
    "arm2": "#b3611d",
    "arm3": "#6b4c93",
    "arm4": "#1f7a6d",
    "arm5": "#a33a5b",
    "scale0": "#ccd9e6",
    "scale1": "#a3bcd4",
    "scale2": "#7097bd",
    "scale3": "#3d70a1",
    "scale4": "#16436d",
}

DARK = {
    "paper": "#14181b",
    "card": "#1c2226",
    "ink": "#e6e8ea",
    "muted": "#98a2ab",
    "line": "#30383e",
    "band": "#2a3238",
    "good": "#5cc08d",
    "bad": "#ef8377",
    "unsure": "#dcb158",
    "even": "#aab4bc",
    "arm0": "#949ea7",
    "arm1": "#7fb0de",
    "arm2": "#e8a15f",
    "arm3": "#b79be0",
    "arm4": "#62c2b3",
    "arm5": "#e889a6",
    "scale0": "#34485a",
    "scale1": "#44647f",
    "scale2": "#5b88ae",
    "scale3": "#8ab7de",
    "scale4": "#cfe6fb",
}

N_SHADES = 5


def arm_colour(index: int) -> str:
    """Return the light colour of an arm: grey for the baseline, then five colours in turn.

    The colours may repeat because the shapes of the marks differ too.
    """
    return LIGHT["arm0" if index == 0 else f"arm{(index - 1) % 5 + 1}"]


def as_variables(svg: str) -> str:
    """Return a drawing with CSS variables for the light colours; the page selects the set."""
    for name, colour in LIGHT.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg
