"""What ran: the protocol as labelled texts, and the spec as it was submitted."""

from collections.abc import Iterator, Mapping
from typing import Any

from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.domain.study import Study
from gradnoise_service.report.words.conditions import Labelled
from gradnoise_service.report.words.devices import busy
from gradnoise_service.report.words.numbers import MISSING, as_words, count
from gradnoise_service.study_text import dump_yaml


def protocol(comparison: Comparison) -> Iterator[Labelled]:
    """Yield the protocol; of the formulas, those of each arm's techniques."""
    for name, value in comparison.protocol.items():
        if name == "parameters_of":
            continue  # the recipes show which parameters each arm has
        if name == "rehearsal":
            yield from _optimizers(value)
            continue
        if name == "together":
            yield from _search_stacks(value)
            continue
        if name == "busy":
            yield "devices busy", busy(value)
        elif name == "formulas":
            yield from _formulas(comparison, value)
        elif isinstance(value, Mapping):
            yield as_words(name), ", ".join(f"{key} {item}" for key, item in value.items())
        else:
            yield as_words(name), str(value)


def _search_stacks(together: Mapping[str, Mapping[str, int]]) -> Iterator[Labelled]:
    """Yield the most search trials that train as one model, where other phases have other stacks.

    Without them, the entry on stacking says it for every phase.
    """
    of_search = together.get("search", {})
    if of_search and any(of_search != of_phase for of_phase in together.values()):
        yield "stacks of the search", ", ".join(f"{arm} {n}" for arm, n in of_search.items())


def spec_text(study: Study) -> str:
    """Return the submitted spec as YAML that can be submitted again."""
    return dump_yaml(study.spec.model_dump(mode="json"))


def _optimizers(rehearsal: Mapping[str, Mapping[str, Any]]) -> Iterator[Labelled]:
    """Yield the optimizers that a training function made in the first trial of each arm."""
    for arm, did in rehearsal.items():
        if did["optimizers"]:
            yield f"optimizers of {arm}", "; ".join(map(_optimizer, did["optimizers"]))


def _optimizer(made: Mapping[str, Any]) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in made["settings"].items())
    return f"{made['class']} of {count(made['n_parameters'], 'parameter')} ({settings})"


def _formulas(comparison: Comparison, formulas: Mapping[str, str]) -> Iterator[Labelled]:
    for arm in comparison.arms:
        texts = [formulas.get(technique, MISSING) for technique in arm.techniques]
        yield f"formula of {arm.name}", "; ".join(texts)
