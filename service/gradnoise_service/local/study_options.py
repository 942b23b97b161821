"""The study of a file: what the command line gives, over a study file, over defaults."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradnoise_service.domain.arm import default_arms
from gradnoise_service.domain.catalogue import WorkloadEntry
from gradnoise_service.report.words.numbers import number

LR = {"low": 1e-3, "high": 1e-1, "log": True}
WIDE_NOISE = {"eta": {"low": 1e-4, "high": 1.0, "log": True}, "gamma": {"low": 0.3, "high": 0.9}}
"""The space of the wide arm: also noise far below that of the paper, for small gradients."""
N_EPOCHS, N_TRIALS, N_SEEDS = 10, 8, 12
RERUN = {"top": 2, "n_seeds": 2}
SHARE = 0.01
"""The smallest difference, as a share of the metric's range or of a measured value."""
SHARE_NAME = re.compile(r"(^|[_-])(acc|accuracy|f1|auc|auroc|precision|recall|iou|dice)([_-]|$)")
"""Names of metrics that are shares, from 0 to 1 or in percent."""

RANGE = re.compile(r"^(?P<low>[^:]+)\.\.(?P<high>[^:]+?)(?P<marks>(:[a-z]+(=[^:]+)?)*)$")


JSON_STARTS = ("[", "{")
"""How lists and objects start."""


class OptionError(ValueError):
    """A value of the command line has another form than its option takes."""


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """What the command line gives of a study; None and empty where it gives nothing.

    Args:
        space: `NAME=VALUES` for each shared parameter, such as `lr=1e-3..1e-1:log`.
        options: `NAME=VALUE` for each option of the workload.
        arms: `NAME:TECHNIQUE` for each arm beside the baseline, then `NAME=VALUES` for each of its
            own parameters, separated by spaces.
    """

    name: str | None = None
    space: Sequence[str] = ()
    options: Sequence[str] = ()
    arms: Sequence[str] = ()
    optimizer: str | None = None
    epochs: int | None = None
    trials: int | None = None
    seeds: int | None = None
    smallest_difference: float | None = None
    seed: int | None = None


def assembled(
    given: StudyOptions,
    in_file: Mapping[str, Any],
    *,
    file: str,
    workload: str,
    source: str,
) -> dict[str, Any]:
    """Return the plain values of a study of a file.

    The options of the command line replace the fields of the study file, which replace the
    defaults. The smallest difference has no default here.

    Args:
        given: The options.
        in_file: The values of the study file; empty without one.
        file: The name of the Python file.
        workload: The name of its workload.
        source: The hash of its source.

    Raises:
        OptionError: If an option has another form.
    """
    study = {**in_file, "workload": workload, "source": source}
    study.setdefault(
        "name", re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(file).stem).strip("-._") or "run"
    )
    study.setdefault("seed", 1)
    study["space"] = {"lr": LR} | in_file.get("space", {}) | dict(map(_assignment, given.space))
    if "search" not in study or study["search"] is not None:
        default = {"n_trials": N_TRIALS, "epochs": N_EPOCHS, "sampler": "random", "rerun": RERUN}
        study["search"] = default | (study.get("search") or {})
    study["confirm"] = {"n_seeds": N_SEEDS} | in_file.get("confirm", {})
    if given.options:
        study["options"] = in_file.get("options", {}) | dict(map(_option, given.options))
    if given.arms:
        study["arms"] = [{"name": "baseline", "technique": "none"}, *map(_arm, given.arms)]
    for field in ("name", "optimizer", "smallest_difference", "seed"):
        if getattr(given, field) is not None:
            study[field] = getattr(given, field)
    for part, field, value in (
        ("search", "epochs", given.epochs),
        ("search", "n_trials", given.trials),
        ("confirm", "n_seeds", given.seeds),
    ):
        if value is not None and study[part] is not None:
            study[part] = study[part] | {field: value}
    return study


def smallest_difference(
    workload: WorkloadEntry, objective: str | None, measured: Mapping[str, float]
) -> tuple[float, str]:
    """Return the default of the smallest difference that matters, and where it is from.

    It is 1 % of the range of the objective, if the workload declares its best and worst values or
    the name is that of a share, such as `accuracy`, which lies in [0, 1] or in [0, 100]. Of another
    metric to minimise it is 1 % of its value in a short trial of the baseline; one significant
    digit. Other metrics to maximise have none: an untrained model has values far below those that
    are compared.

    Args:
        workload: As announced.
        objective: The metric; None for the workload's first.
        measured: What the short trial measured, by `<split>_<metric>`.

    Raises:
        OptionError: If there is no default.
    """
    metric = next((m for m in workload.metrics if m.name == objective), workload.metrics[0])
    value = measured.get(f"validation_{metric.name}", math.nan)
    if metric.range is not None and metric.best is not None:
        low, high = sorted((metric.worst, metric.best))
        return _one_digit(SHARE * metric.range), (
            f"1 % of the range of {metric.name}, {number(low)} to {number(high)}"
        )
    if SHARE_NAME.search(metric.name) and 0 <= value <= 100:
        high = 1.0 if value <= 1 else 100.0
        return SHARE * high, f"1 % of the range of {metric.name}, taken as 0 to {number(high)}"
    if metric.direction == "minimize" and 0 < abs(value) < math.inf:
        return _one_digit(SHARE * abs(value)), (
            f"1 % of {number(abs(value))}, the {metric.name} of a short trial of the baseline"
        )
    shown = f" (a short trial of the baseline measured {number(value)})" * math.isfinite(value)
    raise OptionError(
        f"the smallest difference that matters is unknown, because {metric.name} declares no "
        f"range{shown}: give it in units of {metric.name}, as in --smallest-difference 0.5"
    )


def entry(text: str) -> Any:
    """Return an entry of a space: a range, choices, or one value.

    >>> entry("1e-3..1e-1:log"), entry("0..1:step=0.25")
    ({'low': 0.001, 'high': 0.1, 'log': True}, {'low': 0, 'high': 1, 'step': 0.25})
    >>> entry("mixup,none"), entry("0.9"), entry("true")
    ({'choices': ['mixup', 'none']}, 0.9, True)
    >>> entry("[0.9,0.98]"), entry("[3,3],[5,5]")
    ([0.9, 0.98], {'choices': [[3, 3], [5, 5]]})
    """
    found = None if text.lstrip()[:1] in JSON_STARTS else RANGE.match(text)
    if found is None:
        values = [value(part) for part in _parts(text)]
        if isinstance(values[0], dict):  # a mapping would be a range or choices
            return {"choices": values}
        return {"choices": values} if len(values) > 1 else values[0]
    low, high = value(found["low"]), value(found["high"])
    bounds: dict[str, Any] = {"low": low, "high": high}
    if not all(type(bound) in (int, float) for bound in (low, high)):
        raise OptionError(f"a range is LOW..HIGH with two numbers, but got {text!r}")
    for mark in filter(None, found["marks"].split(":")):
        name, _, size = mark.partition("=")
        match name, size:
            case "log", "":
                bounds["log"] = True
            case "int", "":
                bounds["integer"] = True
            case "step", _ if size:
                bounds["step"] = value(size)
            case _:
                raise OptionError(
                    f"after a range come :log, :int and :step=SIZE, but got :{mark} in {text!r}"
                )
    return bounds


def value(text: str) -> Any:
    """Return a number, true or false, a list or object in JSON, or else the text itself."""
    text = text.strip()
    if text[:1] in JSON_STARTS:
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise OptionError(
                f"a list or an object is written in JSON, as in [3,3], but got {text!r}: {error}"
            ) from None
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _parts(text: str) -> list[str]:
    """Return the parts between the commas that are in no list or object."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in JSON_STARTS) - (character in "]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _assignment(text: str) -> tuple[str, Any]:
    name, _, values = text.partition("=")
    if not name or not values:
        raise OptionError(f"a parameter is NAME=VALUES, as in lr=1e-3..1e-1:log, but got {text!r}")
    return name.strip(), entry(values)


def _option(text: str) -> tuple[str, Any]:
    name, is_given, chosen = text.partition("=")
    if not name or not is_given:
        raise OptionError(f"an option is NAME=VALUE, as in width=64, but got {text!r}")
    return name.strip(), value(chosen)


def _arm(text: str) -> dict[str, Any]:
    head, *assignments = text.split()
    name, _, techniques = head.partition(":")
    if not name or not techniques:
        raise OptionError(
            "an arm is NAME:TECHNIQUE, then its own parameters, as in 'noisy:annealed "
            f"eta=1e-4..1:log gamma=0.55', but got {text!r}"
        )
    space = dict(map(_assignment, assignments))
    if techniques == "wide":
        return {"name": name, "technique": "annealed", "space": WIDE_NOISE | space}
    if techniques == "annealed":
        paper = default_arms()[1].model_dump(mode="json")["space"]
        space = paper | space
    return {"name": name, "techniques": techniques.split("+"), "space": space}


def _one_digit(positive: float) -> float:
    return float(f"{positive:.0e}")
