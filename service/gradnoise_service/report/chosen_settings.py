"""The settings of a study's arms, as a file to train with: YAML, JSON or Python."""

import json
import pprint
from collections.abc import Iterator
from typing import Any, Literal

from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.compare.facts.tables import ArmSummary
from gradnoise_service.domain.spec import StudySpec

SettingsFormat = Literal["yaml", "json", "python"]
WIDTH = 88


def chosen_settings(spec: StudySpec, comparison: Comparison) -> dict[str, Any]:
    """Return what each arm trains with, as plain values.

    An arm has a setting for each of its searches that chose one, with `selected`, the mean of its
    reruns by which it was selected, and `confirmed`, the mean of its confirm runs. A study without
    a search has chosen none: an arm then has every setting that it ran.

    Args:
        spec: The study.
        comparison: Its comparison, final or interim.
    """
    return {
        "study": spec.name,
        "verdict": comparison.verdict,
        "is_final": comparison.is_final,
        "workload": spec.workload,
        "objective": f"{comparison.split}_{comparison.metric}",
        "direction": comparison.direction,
        "arms": {arm.name: _arm(spec, comparison, arm) for arm in comparison.arms},
    }


def render(spec: StudySpec, comparison: Comparison, format: SettingsFormat) -> str:
    """Return the settings of a study's arms as the text of a file; arguments as above."""
    values = chosen_settings(spec, comparison)
    match format:
        case "json":
            return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
        case "yaml":
            import yaml

            return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=WIDTH)
        case "python":
            arms = values.pop("arms")
            facts = "\n".join(f"{name.upper()} = {value!r}" for name, value in values.items())
            return f"{facts}\nARMS = {pprint.pformat(arms, width=WIDTH, sort_dicts=False)}\n"


def _arm(spec: StudySpec, comparison: Comparison, summary: ArmSummary) -> dict[str, Any]:
    recipe = spec.recipe(next(arm for arm in spec.arms if arm.name == summary.name))
    return {
        "techniques": list(recipe.techniques),
        "optimizer": recipe.optimizer,
        "options": dict(recipe.options),
        "settings": list(_settings(comparison, summary)),
    }


def _settings(comparison: Comparison, arm: ArmSummary) -> Iterator[dict[str, Any]]:
    own = [found for found in arm.chosen if found.setting is not None]
    if not comparison.points:
        for found in own:
            runs = {"selected": found.value, "confirmed": found.mean, "n_confirmed": found.n}
            yield {"params": dict(found.setting or {}), **runs}
        return
    for point in comparison.points:
        runs_of_point = point.runs[arm.name]
        yield {
            "params": {**point.params, **(own[0].setting or {} if own else {})},
            "confirmed": runs_of_point.mean,
            "n_confirmed": runs_of_point.n,
        }
