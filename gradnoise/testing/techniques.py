"""Conformance of techniques."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gradnoise._processes import NoiseProcess
from gradnoise.parameters import Parameter
from gradnoise.techniques.base import Technique
from gradnoise.techniques.contribution import STREAM_OFFSET, combine
from gradnoise.techniques.registry import TECHNIQUES
from gradnoise.testing import trials
from gradnoise.testing.declarations import assert_declared, assert_described, assert_legal
from gradnoise.testing.reference import CLASSES, NAME, registered, trial
from gradnoise.training.single import SingleTrainer
from gradnoise.training.trial import ParamValue, TrialSpec

RTOL = 1e-9  # of the results: float64, a few dozen updates
UPDATES = (0, 1, 2, 7, 1_000, 10**6)
PARTNERS: Mapping[str, Mapping[str, ParamValue]] = {
    "annealed": {"eta": 0.01, "gamma": 0.55},
    "constant": {"std": 0.05},
    "weight_noise": {"eta": 0.0001, "gamma": 0.55},
    "dropout": {"rate": 0.2},
    "gradient_centralisation": {},
    "sam": {"rho": 0.02},
    "ema": {"ema_decay": 0.9},
}


@dataclass(frozen=True, kw_only=True)
class TechniqueCase:
    """A technique to check.

    Args:
        technique: The declaration.
        params: Values of its hyperparameters with which it has an effect and training does not
            diverge.
        hyper: The optimizer's hyperparameters.
        optimizer: Name of an installed optimizer.
    """

    technique: Technique
    params: Mapping[str, ParamValue]
    hyper: Mapping[str, ParamValue] = field(default_factory=lambda: {"lr": 0.05})
    optimizer: str = "sgd"

    def trial(self, **hyper: ParamValue) -> TrialSpec:
        """Return a trial of a reference workload with the technique."""
        params = {**self.hyper, **hyper, **self.params}
        return trial((self.technique.name,), self.optimizer, params, self._workload)

    def plain(self, **hyper: ParamValue) -> TrialSpec:
        """Return the same trial without techniques."""
        return trial((), self.optimizer, {**self.hyper, **hyper}, self._workload)

    def beside(self, name: str, params: Mapping[str, ParamValue]) -> TrialSpec:
        """Return the trial with another technique too."""
        techniques, both = (self.technique.name, name), {**self.trial().params, **params}
        return trial(techniques, self.optimizer, both, self._workload)

    @property
    def _workload(self) -> str:
        return CLASSES if "loss" in self.technique.places else NAME


def check_declaration(case: TechniqueCase) -> None:
    """Name, formula, source, hyperparameters and rules can be announced."""
    technique = case.technique
    assert_described(technique.name, technique.description)
    assert technique.formula.strip(), "formula must not be empty."
    assert technique.source.strip(), "source must not be empty."
    owner = f"the technique {technique.name!r}"
    assert_declared(owner, technique.parameters, technique.rules)
    for parameter in technique.parameters:
        if parameter.name in case.params:
            value = case.params[parameter.name]
            assert_legal(parameter, value, f"the case's value of {parameter.name}")


def check_ranges(case: TechniqueCase) -> None:
    """`contribute` itself refuses values outside the declared ranges."""
    for parameter in case.technique.parameters:
        for value in _outside(parameter):
            try:
                case.technique.contribution({**case.params, parameter.name: value})
            except ValueError:
                continue
            raise AssertionError(
                f"contribute must raise ValueError on {parameter.name}={value!r}: legal is "
                f"{parameter.legal}."
            )


def check_contribution(case: TechniqueCase) -> None:
    """The contribution acts at the declared places, and depends on the hyperparameters alone."""
    first, again = (case.technique.contribution(case.params) for _ in range(2))
    assert set(first.places) == set(case.technique.places), (
        f"it declares the places {case.technique.places}, but contributes to {first.places}."
    )
    assert first.activations == again.activations, "equal hyperparameters give different masks."
    assert first.structure == again.structure, (
        "its functions are made anew at every call: define them at the top of a module, so that "
        "trials can train as one model."
    )
    for place in ("gradient", "weights"):
        process, other = getattr(first, place), getattr(again, place)
        if process is not None:
            _check_process(place, process, other)


def check_effect(case: TechniqueCase) -> None:
    """The technique changes the results of training, if it declares a place."""
    with registered(TECHNIQUES, case.technique):
        noisy, plain = (
            trials.train(SingleTrainer(1), spec)["trial"] for spec in (case.trial(), case.plain())
        )
    if case.technique.places:
        found, others = (
            [(values["train_loss"], values["validation_error"]) for values in curve]
            for curve in (noisy, plain)
        )
        assert found != others, "the technique has no effect on the results of training."
    else:
        trials.assert_same(noisy, plain, "it declares no place, but changes the results")


def check_evaluation(case: TechniqueCase) -> None:
    """Only updates see the technique: while the weights stay, the metrics are those without it."""
    with registered(TECHNIQUES, case.technique):
        for name, opened in trials.TRAINERS.items():
            noisy, plain = (
                [
                    {metric: value for metric, value in values.items() if "error" in metric}
                    for values in trials.train(opened(None), spec)["trial"]
                ]
                for spec in (case.trial(lr=1e-300), case.plain(lr=1e-300))
            )
            trials.assert_same(noisy, plain, f"in {name} the technique affects the evaluation")


def check_equal_trials(case: TechniqueCase) -> None:
    """Results depend on the trial's spec alone: all draws come from its seed."""
    with registered(TECHNIQUES, case.technique):
        trials.check_equal_trials(case.trial())


def check_stack(case: TechniqueCase) -> None:
    """The stacked trainer gives the results of the single trainer."""
    with registered(TECHNIQUES, case.technique):
        trials.check_stack(case.trial(), RTOL)


def check_neighbours(case: TechniqueCase) -> None:
    """Neighbours in a stack change no bit, neither of a trial with the technique nor beside it."""
    with registered(TECHNIQUES, case.technique):
        trials.check_neighbours(case.trial(), case.plain())
        trials.check_neighbours(case.plain(), case.trial())


def check_resume(case: TechniqueCase) -> None:
    """A trial resumed from a checkpoint gives the results of an uninterrupted one."""
    with registered(TECHNIQUES, case.technique):
        trials.check_resume(case.trial(), RTOL)


def check_composition(case: TechniqueCase) -> None:
    """With each technique of this package that it can be combined with, an arm trains alike alone
    and in a stack.
    """
    with registered(TECHNIQUES, case.technique):
        for name, params in PARTNERS.items():
            partner = TECHNIQUES.find(name)
            clash = {parameter.name for parameter in partner.parameters} & {
                parameter.name for parameter in case.technique.parameters
            }
            if not clash and _combine(case, partner, params):
                both = dataclasses.replace(case.beside(name, params), budget_epochs=2)
                trials.check_stack(both, RTOL, n_neighbours=1)


TECHNIQUE_CHECKS: tuple[Callable[[TechniqueCase], None], ...] = (
    check_declaration,
    check_ranges,
    check_contribution,
    check_effect,
    check_evaluation,
    check_equal_trials,
    check_stack,
    check_neighbours,
    check_resume,
    check_composition,
)
"""All checks of techniques, each a function of a TechniqueCase."""


def _outside(parameter: Parameter) -> list[float | str]:
    if parameter.choices:
        return ["no such word"]
    values: list[float | str] = [math.nan]
    if parameter.low > -math.inf:
        values.append(parameter.low - 1)
    if parameter.low_open:
        values.append(parameter.low)
    return values


def _check_process(place: str, process: NoiseProcess, again: NoiseProcess) -> None:
    for t in UPDATES:
        terms = list(process.terms(t))
        assert terms == list(process.terms(t)) == list(again.terms(t)), (
            f"the noise on {place} of update {t} is not a function of t alone."
        )
        for drawn, std in terms:
            assert isinstance(drawn, int), f"update {t} draws number {drawn!r}: no integer."
            assert 0 <= drawn < STREAM_OFFSET, (
                f"update {t} draws number {drawn}: it must lie in [0, 2^48)."
            )
            assert math.isfinite(std), f"update {t} has the standard deviation {std}."


def _combine(case: TechniqueCase, partner: Technique, params: Mapping[str, ParamValue]) -> bool:
    try:
        combine([case.technique.contribution(case.params), partner.contribution(params)])
    except ValueError:
        return False
    return True
