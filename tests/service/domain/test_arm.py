"""An arm is a recipe: its own choices, and what it shares with the others."""

from collections.abc import Callable

import pytest
from pydantic import ValidationError

from gradnoise_service.domain.arm import Recipe
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.errors import InvalidSpecError
from gradnoise_service.domain.space import Range
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.suite import check_membership

Make = Callable[..., StudySpec]
BASELINE = {"name": "baseline", "technique": "none"}
DEEP = {
    "name": "deep",
    "technique": "none",
    "optimizer": "adam",
    "options": {"depth": 40},
    "space": {"augment": "mixup"},
}


def test_a_recipe_has_the_arm_s_choices_before_the_study_s(make_spec: Make) -> None:
    spec = make_spec(
        arms=[BASELINE, DEEP], options={"depth": 2, "dataset": "digits"}, space={"lr": 0.1}
    )
    assert [spec.recipe(arm) for arm in spec.arms] == [
        Recipe(
            techniques=("none",),
            optimizer="sgd",
            options={"depth": 2, "dataset": "digits"},
            space={"lr": 0.1},
        ),
        Recipe(
            techniques=("none",),
            optimizer="adam",
            options={"depth": 40, "dataset": "digits"},
            space={"lr": 0.1, "augment": "mixup"},
        ),
    ]


def test_each_arm_may_have_a_range_of_its_own(make_spec: Make) -> None:
    ranges = [{"low": 0.1, "high": 0.2}, {"low": 1, "high": 2}]
    arms = [{**BASELINE, "space": {"lr": ranges[0]}}, {**DEEP, "space": {"lr": ranges[1]}}]
    design = Design.of(make_spec(space={}, arms=arms))
    assert [design.space(arm)["lr"] for arm in ("baseline", "deep")] == [
        Range(low=0.1, high=0.2),
        Range(low=1, high=2),
    ]
    assert design.n_settings == 1


def test_a_parameter_is_shared_or_the_arm_s_not_both(make_spec: Make) -> None:
    arms = [BASELINE, {**DEEP, "space": {"lr": 0.2}}]
    with pytest.raises(ValidationError, match=r"arms.1.space.lr: lr is in the shared space and"):
        make_spec(space={"lr": 0.1}, arms=arms)


@pytest.mark.parametrize(
    "changes", [{"optimizer": "sgd"}, {"optimizer": None}, {"options": {"depth": 20}}]
)
def test_the_studies_of_a_suite_have_the_same_recipes(
    make_spec: Make, make_study: Callable[..., object], accuracy: object, changes: dict[str, object]
) -> None:
    spec = make_spec(suite="s", arms=[BASELINE, DEEP])
    member = make_study(Design.of(spec), accuracy)
    other_space = make_spec(suite="s", arms=[BASELINE, {**DEEP, "space": {}}])
    check_membership(other_space, member)
    other = make_spec(suite="s", arms=[BASELINE, DEEP | changes])
    with pytest.raises(InvalidSpecError) as caught:
        check_membership(other, member)
    (fault,) = caught.value.errors
    assert fault.field == "arms"
    assert fault.legal == (
        "the arms baseline (none), deep (none, optimizer adam, depth 40), in this order"
    )
