"""The form of a study, made from the catalogue and the schema of a study."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from gradnoise_service.domain.catalogue import Catalogue, ParameterRange, WorkloadEntry
from gradnoise_service.domain.errors import FieldFault
from gradnoise_service.domain.phrases import Schema, forms, range_in_words, schema_in_words
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.web.form_fields import FormField, find, put, shown, with_faults

ABOUT = ("name", "description", "suite")
QUESTION = ("objective", "smallest_difference", "judge")
SEARCH = (
    "search.n_trials",
    "search.epochs",
    "search.repeats",
    "search.sampler",
    "search.pruner",
    "search.rerun.top",
    "search.rerun.n_seeds",
)
BUDGET = ("budget.equal", "budget.steps", "budget.report_every")
CONFIRM = (
    "confirm.n_seeds",
    "confirm.epochs",
    "confirm.looks",
    "confirm.anytime",
    "confirm.thresholds",
    "confirm.keep_weights",
)
RUN = ("devices", "priority", "seed", "max_attempts", "trial_time_limit")
TITLES = {
    "About": ABOUT,
    "Question": QUESTION,
    "Search": SEARCH,
    "Budget": BUDGET,
    "Confirmation": CONFIRM,
    "Run": RUN,
}
LABELS = {
    "search.n_trials": "trials",
    "search.rerun.top": "rerun settings",
    "search.rerun.n_seeds": "rerun seeds",
    "confirm.n_seeds": "seeds",
}
"""Labels of fields whose names alone are ambiguous."""
NEW_ARM = {"techniques": ["annealed"], "space": {}}


@dataclass(frozen=True, kw_only=True)
class Section:
    """Fields under a title; `arm` is the place of the arm whose section it is."""

    title: str
    fields: Sequence[FormField]
    hint: str = ""
    arm: int | None = None


@dataclass(frozen=True, kw_only=True)
class StudyForm:
    """The sections of the form, and the faults that no field of it has."""

    sections: Sequence[Section]
    faults: Sequence[FieldFault] = ()


def form_of(
    study: Mapping[str, Any], catalogue: Catalogue, faults: Sequence[FieldFault] = ()
) -> StudyForm:
    """Return the form of a study.

    Args:
        study: Plain values of a study, legal or not; what the form has no field for stays.
        catalogue: What the workers announced.
        faults: Of the study.
    """
    sections = list(_sections(study, catalogue))
    fields = [each for section in sections for each in section.fields]
    placed, homeless = with_faults(fields, faults)
    by_path = {each.path: each for each in placed}
    return StudyForm(
        sections=[
            Section(
                title=section.title,
                fields=[by_path[each.path] for each in section.fields],
                hint=section.hint,
                arm=section.arm,
            )
            for section in sections
        ],
        faults=homeless,
    )


def edited(
    study: Mapping[str, Any], catalogue: Catalogue, texts: Mapping[str, str]
) -> dict[str, Any]:
    """Return a study with the changes that were made in its form.

    Args:
        study: The plain values that the form showed.
        catalogue: What the workers announced.
        texts: The texts of the form by path; a missing one is empty.
    """
    values = copy.deepcopy(dict(study))
    for section in _sections(study, catalogue):
        for each in section.fields:
            text = texts.get(each.path, "").replace("\r\n", "\n").strip()
            if text == each.text.strip():
                continue
            if ".techniques." in each.path:
                _switch(values, each, is_on=bool(text))
            elif each.path == "search.pruner" and isinstance(find(values, each.path), dict):
                put(values, "search.pruner.name", text or None)
            else:
                put(values, each.path, each.value(text) if text else None)
    return values


def with_arm(study: Mapping[str, Any]) -> dict[str, Any]:
    """Return a study with another arm."""
    values = copy.deepcopy(dict(study))
    arms = values.get("arms")
    listed = arms if isinstance(arms, list) else []
    values["arms"] = [*listed, {"name": f"arm{len(listed)}", **copy.deepcopy(NEW_ARM)}]
    return values


def without_arm(study: Mapping[str, Any], place: int) -> dict[str, Any]:
    """Return a study without one of its arms."""
    values = copy.deepcopy(dict(study))
    arms = values.get("arms")
    if isinstance(arms, list):
        values["arms"] = arms[:place] + arms[place + 1 :]
    return values


def _sections(study: Mapping[str, Any], catalogue: Catalogue) -> Iterator[Section]:
    workload = catalogue.workloads.get(str(find(study, "workload")))
    yield Section(title="About", fields=[_of_schema(study, path) for path in ABOUT])
    yield Section(title="Workload", fields=list(_workload(study, catalogue, workload)))
    yield Section(title="Question", fields=list(_question(study, workload)))
    yield Section(
        title="Every arm",
        fields=list(_shared(study, catalogue, workload)),
        hint="What is tuned in every arm over the same space; empty: the default of the optimizer.",
    )
    arms = find(study, "arms")
    for i, _ in enumerate(arms if isinstance(arms, list) else []):
        title = f"Arm {i + 1}{', the baseline' if i == 0 else ''}"
        fields = list(_arm(study, i, catalogue, workload))
        yield Section(title=title, fields=fields, arm=i)
    for title in ("Search", "Budget", "Confirmation", "Run"):
        yield Section(title=title, fields=[_of_schema(study, path) for path in TITLES[title]])


def _workload(
    study: Mapping[str, Any], catalogue: Catalogue, workload: WorkloadEntry | None
) -> Iterator[FormField]:
    yield _choice(study, "workload", "Workload", catalogue.workloads, hint=_about(workload))
    options = workload.options_schema.get("properties", {}) if workload else {}
    for name, node in options.items():
        yield _of_node(study, f"options.{name}", name, node)
    given = find(study, "options")
    for name in given if isinstance(given, dict) else ():
        if name not in options:
            yield _plain(study, f"options.{name}", name)


def _question(study: Mapping[str, Any], workload: WorkloadEntry | None) -> Iterator[FormField]:
    metrics = [metric.name for metric in workload.metrics] if workload else []
    default = metrics[0] if metrics else ""
    yield _choice(study, "objective", "Objective", metrics, default=default)
    for path in QUESTION[1:]:
        yield _of_schema(study, path)


def _shared(
    study: Mapping[str, Any], catalogue: Catalogue, workload: WorkloadEntry | None
) -> Iterator[FormField]:
    yield _choice(study, "optimizer", "Optimizer", catalogue.optimizers, default="sgd")
    optimizer = catalogue.optimizers.get(str(find(study, "optimizer") or "sgd"))
    known = [
        *(optimizer.parameters if optimizer else ()),
        *(workload.parameters if workload else ()),
    ]
    yield from _space(study, "space", known)


def _arm(
    study: Mapping[str, Any], i: int, catalogue: Catalogue, workload: WorkloadEntry | None
) -> Iterator[FormField]:
    at = f"arms.{i}"
    yield _plain(study, f"{at}.name", "Name", kind="line")
    chosen = _techniques(study, i)
    legal = catalogue.techniques if workload is None else workload.techniques
    for name in dict.fromkeys([*chosen, *(legal or catalogue.techniques)]):
        entry = catalogue.techniques.get(name)
        text = "on" if name in chosen else ""
        yield FormField(
            path=f"{at}.techniques.{name}",
            label=name,
            kind="box",
            text=text,
            hint=entry.description if entry else "",
        )
    yield _choice(
        study, f"{at}.optimizer", "Optimizer", catalogue.optimizers, default="that of every arm"
    )
    known = [
        parameter
        for name in chosen
        if name in catalogue.techniques
        for parameter in catalogue.techniques[name].parameters
    ]
    own = catalogue.optimizers.get(str(find(study, f"{at}.optimizer")))
    yield from _space(study, f"{at}.space", [*known, *(own.parameters if own else ())])


def _space(
    study: Mapping[str, Any], at: str, known: Sequence[ParameterRange]
) -> Iterator[FormField]:
    """Yield the parameters that a space can have, and others that it has."""
    by_name = {parameter.name: parameter for parameter in known}
    given = find(study, at)
    for name in dict.fromkeys([*by_name, *(given if isinstance(given, dict) else ())]):
        parameter = by_name.get(name)
        hint = f"{parameter.description} Legal: {range_in_words(parameter)}." if parameter else ""
        yield _plain(study, f"{at}.{name}", name, kind="space", hint=hint)


def _techniques(study: Mapping[str, Any], i: int) -> list[str]:
    several, single = find(study, f"arms.{i}.techniques"), find(study, f"arms.{i}.technique")
    found = several if isinstance(several, list) else [single]
    return [name for name in found if isinstance(name, str)]


def _switch(values: dict[str, Any], box: FormField, *, is_on: bool) -> None:
    """Add a technique to an arm, or remove it; `none` stands alone."""
    at, _, name = box.path.rpartition(".techniques.")
    i = int(at.removeprefix("arms."))
    others = [each for each in _techniques(values, i) if each != name]
    chosen = ([each for each in others if each != "none"] if name != "none" else []) + [name]
    put(values, f"{at}.technique", None)
    put(values, f"{at}.techniques", chosen if is_on else others)


def _of_schema(study: Mapping[str, Any], path: str) -> FormField:
    return _of_node(study, path, path.rpartition(".")[2], _node(path))


def _of_node(study: Mapping[str, Any], path: str, name: str, node: Schema) -> FormField:
    """Return the field that a schema describes, of any path in the study."""
    definitions = _schema()["$defs"]
    form = forms(node, definitions)[0]
    default = node.get("default")
    hint = f"{node.get('description', '')} Legal: {schema_in_words(node, definitions)}."
    label = LABELS.get(path, name.replace("_", " "))
    if path == "search.pruner":
        names = form["properties"]["name"]["enum"]
        found = find(study, path)
        text = str(found.get("name", "")) if isinstance(found, dict) else shown("line", found)
        return _choice(study, path, label, names, default="none", hint=hint, text=text)
    if form.get("type") == "boolean" or "enum" in form:
        legal = form.get("enum", ["true", "false"])
        return _choice(
            study, path, label, map(str, legal), default=shown("value", default), hint=hint
        )
    kind = {"array": "list", "string": "line"}.get(form.get("type", ""), "value")
    if path == "description":
        kind = "text"
    return _plain(study, path, label, kind=kind, hint=hint, default=shown("value", default))


def _plain(
    study: Mapping[str, Any],
    path: str,
    label: str,
    *,
    kind: Any = "value",
    hint: str = "",
    default: str = "",
) -> FormField:
    text = shown(kind, find(study, path))
    return FormField(
        path=path,
        label=label,
        kind=kind,
        text=text,
        hint=hint.strip(),
        default=default.strip('"[]'),
    )


def _choice(
    study: Mapping[str, Any],
    path: str,
    label: str,
    choices: Any,
    *,
    default: str = "",
    hint: str = "",
    text: str | None = None,
) -> FormField:
    """Return a field of choices; its value is one of them, also if it is illegal."""
    text = shown("line", find(study, path)) if text is None else text
    listed = list(choices)
    return FormField(
        path=path,
        label=label,
        kind="choice",
        text=text,
        hint=hint.strip(),
        default=default.strip('"'),
        choices=listed if not text or text in listed else [*listed, text],
    )


def _about(workload: WorkloadEntry | None) -> str:
    return workload.description if workload else ""


@cache
def _schema() -> Schema:
    return StudySpec.model_json_schema()


def _node(path: str) -> Schema:
    """Return the schema at a path of the study."""
    schema = _schema()
    node: Schema = schema
    for name in path.split("."):
        node = forms(node, schema["$defs"])[0]["properties"][name]
    return node
