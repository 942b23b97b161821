"""The figures of the report; loads matplotlib."""

from gradnoise_service.report.figures.gallery import FIGURES, as_element, as_svg, pictures, png, svg

__all__ = ["FIGURES", "as_element", "as_svg", "pictures", "png", "svg"]
