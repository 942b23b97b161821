"""Training functions: workloads that contain their training loop.

A training function is a plain function `train(trial)`, declared with its metrics.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gradnoise.parameters import Parameter
from gradnoise.rules import Rule
from gradnoise.signatures import first_sentence
from gradnoise.techniques.contribution import Place
from gradnoise.workloads.base import Direction, Metric, NoOptions
from gradnoise.workloads.function_trial import Trial

UNBOUNDED_WORST: Mapping[Direction, float] = {"maximize": -1e6, "minimize": 1e6}
"""The worst value of a metric whose range is not declared."""


@dataclass(frozen=True, kw_only=True)
class FunctionWorkload:
    """A declared training function, made by `function`.

    The fields are the class attributes of a Workload.
    """

    name: str
    description: str
    metrics: tuple[Metric, ...]
    parameters: tuple[Parameter, ...]
    rules: tuple[Rule, ...]
    Options: type
    train: Callable[[Trial], None]
    has_test: bool = True
    early_stopping: bool = False
    stacks: bool = False
    places: tuple[Place, ...] = ("gradient",)  # all that a function hands over is its optimizer

    def __call__(self, trial: Trial) -> None:
        self.train(trial)


def function(
    *,
    name: str | None = None,
    description: str | None = None,
    metrics: Sequence[Metric] | Mapping[str, Direction],
    parameters: Sequence[Parameter] = (),
    rules: Sequence[Rule] = (),
    options: type = NoOptions,
    has_test: bool = True,
    early_stopping: bool = False,
) -> Callable[[Callable[[Trial], None]], FunctionWorkload]:
    """Declare a training function as a workload.

    It is run from its file by `gradnoise run`, or named in the entry-point group
    `gradnoise.workloads`.

    Args:
        name: The name of the workload, that of the function by default; also of the entry point.
        description: One sentence for users who choose a workload; by default the first of the
            docstring.
        metrics: What it reports; the first is the objective unless a study names another. In short
            as `{"accuracy": "maximize"}`; then a lost run counts as -1e6, or as 1e6 where the
            metric is minimised.
        parameters: Hyperparameters in addition to those of the optimizer and the techniques.
        rules: Rules across these hyperparameters.
        options: A frozen dataclass of `option(...)` fields.
        has_test: Whether it measures test data. If not, arms are compared on the validation data of
            fresh seeds, and the report says so.
        early_stopping: Whether it may return before its budget is spent, after at least one report.
            The values of its last report then stand for the reports that are missing. Otherwise an
            early return is an error.

    Raises:
        ValueError: If there is no metric, or a direction is unknown.

    >>> @function(metrics={"accuracy": "maximize"})
    ... def digits(trial):
    ...     "Classify digits."
    >>> digits.name, digits.description, digits.metrics[0].worst
    ('digits', 'Classify digits.', -1000000.0)
    """
    if not metrics:
        raise ValueError(f"metrics must name at least one metric, but got {metrics=}.")
    declared = _metrics(metrics) if isinstance(metrics, Mapping) else metrics

    def declare(train: Callable[[Trial], None]) -> FunctionWorkload:
        return FunctionWorkload(
            name=train.__name__ if name is None else name,
            description=first_sentence(train) if description is None else description,
            metrics=tuple(declared),
            parameters=tuple(parameters),
            rules=tuple(rules),
            Options=options,
            train=train,
            has_test=has_test,
            early_stopping=early_stopping,
        )

    return declare


def _metrics(directions: Mapping[str, Direction]) -> list[Metric]:
    for name, direction in directions.items():
        if direction not in UNBOUNDED_WORST:
            raise ValueError(
                f"the direction of a metric must be maximize or minimize, but got "
                f"{name}={direction!r}."
            )
    return [
        Metric(name=name, direction=direction, worst=UNBOUNDED_WORST[direction])
        for name, direction in directions.items()
    ]
