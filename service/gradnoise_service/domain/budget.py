"""Budget: the schema of what is equal between the arms' searches."""

from typing import Literal

from pydantic import Field

from gradnoise_service.domain.space import Strict

Equal = Literal["trials", "none"]


class Budget(Strict):
    """What every arm's search has in common."""

    equal: Equal = Field(
        default="trials",
        description=(
            "trials: every arm has the search's n_trials. none: an arm may set another n_trials; "
            "unequal numbers are the first warning of the report."
        ),
    )
