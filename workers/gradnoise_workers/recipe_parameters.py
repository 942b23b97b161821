"""The parameters of the techniques and optimizers of a study."""

from gradnoise.techniques.registry import TECHNIQUES
from gradnoise.workloads.registry import OPTIMIZERS
from gradnoise_service.domain.source import Source
from gradnoise_service.domain.spec import StudySpec


def parameters_of(spec: StudySpec, source: Source | None = None) -> dict[str, list[str]]:
    """Return the parameters of each technique and optimizer of a study, by its name.

    Those that the study's source declares are read from its announcement.
    """
    announced = {} if source is None else source.announced
    own = {
        each["name"]: [parameter["name"] for parameter in each["parameters"]]
        for kind in ("techniques", "optimizers")
        for each in announced.get(kind, ())
    }
    recipes = [spec.recipe(arm) for arm in spec.arms]
    techniques = {name for recipe in recipes for name in recipe.techniques}
    optimizers = {recipe.optimizer for recipe in recipes}
    found = {name: TECHNIQUES.find(name).parameters for name in techniques - own.keys()}
    found |= {name: OPTIMIZERS.find(name).parameters for name in optimizers - own.keys()}
    installed = {name: [parameter.name for parameter in found[name]] for name in found}
    named = {name: own[name] for name in (techniques | optimizers) & own.keys()}
    return dict(sorted((installed | named).items()))
