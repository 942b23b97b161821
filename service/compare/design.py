"""What a study's declarations come to before its first trial."""

from service.compare.power import pairs_for
from service.compare.verdict import alpha_each
from service.domain.errors import FieldError, InvalidSpec
from service.domain.spec import StudySpec


def with_seeds(spec: StudySpec) -> StudySpec:
    """Return the study with as many confirm seeds as the power that it declares takes; one that declares none as it is.

    They are the fewest with which a technique that gains the smallest difference is found with that chance, at the level of each of the
    study's comparisons.

    Raises:
        InvalidSpec: If no number of seeds reaches the power, or the study gives another number itself.
    """
    declared = spec.confirm.power
    if declared is None:
        return spec
    level = 1 - alpha_each(spec)
    try:
        n_seeds = pairs_for(spec.smallest_difference, declared.sd, declared.power, level)
    except ValueError as error:
        legal = f"a power below {(1 + level) / 2:.4g}, and an sd that a million seeds can resolve"
        raise InvalidSpec([FieldError(field="confirm.power", value=declared.model_dump(), message=str(error), legal=legal)]) from None
    if spec.confirm.n_seeds not in (0, n_seeds):
        message = f"n_seeds and power are both given and disagree: this power takes {n_seeds} seeds"
        raise InvalidSpec([FieldError(field="confirm.n_seeds", value=spec.confirm.n_seeds, message=message, legal="one of the two")])
    return spec.model_copy(update={"confirm": spec.confirm.model_copy(update={"n_seeds": n_seeds})})
