"""The report as JSON: the facts of the comparison and their words."""

from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.domain.study import Study
from gradnoise_service.report.document import document


def render(study: Study, comparison: Comparison) -> str:
    """Return a study's report as a JSON document of the model `Report`."""
    return document(study, comparison).model_dump_json()
