"""The study that `gradnoise run` and `gradnoise check` make of a file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from gradnoise_service.api.validation import spec_errors
from gradnoise_service.client import read_study
from gradnoise_service.compare.facts.diagnostics import NOISE_DOMINANT
from gradnoise_service.domain import legal
from gradnoise_service.domain.catalogue import Catalogue
from gradnoise_service.domain.errors import InvalidSpecError
from gradnoise_service.domain.repeats import with_repeats
from gradnoise_service.domain.source import Source
from gradnoise_service.domain.space import Value
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.local import sources
from gradnoise_service.local.errors import StudyFaultsError
from gradnoise_service.local.finding import Finding
from gradnoise_service.local.study_options import (
    StudyOptions,
    assembled,
    smallest_difference,
)
from gradnoise_service.report.words.numbers import count, duration, given, number
from gradnoise_service.settings import Settings

TINY = 1e-9


@dataclass(frozen=True, kw_only=True)
class NoiseAt:
    """How many times the gradient the noise of an arm is, at some values of its techniques."""

    at: Literal["lowest", "middle"]
    setting: Mapping[str, Value]
    ratio: float


@dataclass(kw_only=True)
class Check:
    """What short trials showed.

    Args:
        values: By arm, what its trial measured last.
        seconds: By arm, the seconds of an epoch.
        unread: By arm, the hyperparameters that a training function did not read.
        noise: By arm, the ratio of noise to gradient at the lowest values of its space, and at the
            middle.
        repeats: Whether a trial with the same seed measured the same.
        diverged: The arms whose trials diverged.
        refusal: Why trials do not train as one model; empty if they do.
        n_devices: GPUs of this machine, or its cores if it has none.
        error: The first error, after its arm's name; empty without one. `trace` is its traceback.
    """

    values: dict[str, Mapping[str, float]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    diverged: list[str] = field(default_factory=list)
    unread: dict[str, list[str]] = field(default_factory=dict)
    noise: dict[str, list[NoiseAt]] = field(default_factory=dict)
    repeats: bool | None = None
    refusal: str | None = None
    on_gpu: bool = False
    n_devices: int = 1
    arm: str = ""
    error: str = ""
    trace: str = ""

    def add(self, answer: Mapping[str, Any]) -> None:
        """Add an answer of the checking process."""
        if "error" in answer:
            self.arm, self.error, self.trace = answer["arm"], answer["error"], answer["trace"]
        elif "arm" in answer:
            self.values[answer["arm"]] = answer["values"]
            self.seconds[answer["arm"]] = answer["seconds"]
            self.unread[answer["arm"]] = answer["unread"]
            self.noise[answer["arm"]] = [NoiseAt(**found) for found in answer["noise"]]
            if answer["diverged"]:
                self.diverged.append(answer["arm"])
        elif "repeats" in answer:
            self.repeats = answer["repeats"]
        else:
            self.refusal = answer["refusal"]
            self.on_gpu, self.n_devices = answer["on_gpu"], answer["n_devices"]

    @property
    def device(self) -> str:
        """The devices in words: `2 cores`."""
        return count(self.n_devices, "GPU" if self.on_gpu else "core")

    def findings(self) -> Iterator[Finding]:
        """Yield what the short trials showed."""
        for arm, values in self.values.items():
            measured = ", ".join(f"{name} {number(value)}" for name, value in values.items())
            state: Literal["ok", "warn"] = "warn" if arm in self.diverged else "ok"
            diverged = "diverged; " if arm in self.diverged else ""
            detail = f"{diverged}{measured}; {duration(self.seconds[arm])} an epoch"
            yield Finding(name=f"arm {arm}", state=state, detail=detail)
            yield from self._remarks(arm)
        if self.error:
            yield Finding(name=f"arm {self.arm}", state="fail", detail=self.error)
        if self.repeats is not None:
            yield _repeats(self.repeats)
        if self.refusal is not None:
            detail = (
                f"trials train one at a time: {self.refusal}"
                if self.refusal
                else "trials train together as one model"
            )
            yield Finding(name="stacking", state="ok", detail=detail)

    def warnings(self) -> list[str]:
        """Return what trains but cannot be right, each with its hint."""
        return [
            f"{finding.name}: {finding.detail}. {finding.hint}".strip()
            for finding in self.findings()
            if finding.state == "warn"
        ]

    def _remarks(self, arm: str) -> Iterator[Finding]:
        drowning = drowns(self.noise[arm])
        if drowning:
            yield Finding(
                name=f"arm {arm}",
                state="warn",
                detail=drowning,
                hint="Add an arm with less noise beside it: --arm noisy:annealed --arm quiet:wide",
            )
        if self.unread[arm]:
            yield Finding(
                name=f"arm {arm}",
                state="warn",
                detail=f"the function does not read {', '.join(self.unread[arm])}",
                hint="What a study tunes has an effect only if the function uses trial.params.",
            )


def drowns(noise: Sequence[NoiseAt]) -> str:
    """Return at which of the declared values the noise drowns the gradient; empty if at none.

    Args:
        noise: Of one arm, the lowest values first; one entry if the arm declares single values.
    """
    if all(found.ratio <= NOISE_DOMINANT for found in noise):
        return ""
    *lowest, middle = noise
    at_middle = f"{number(middle.ratio)} times the gradient"
    if not lowest:
        return f"with its values ({_setting(middle)}) the noise is {at_middle}"
    [low] = lowest
    at_lowest = f"the lowest values of its space ({_setting(low)})"
    if low.ratio > NOISE_DOMINANT:
        return (
            f"even with {at_lowest} the noise is {number(low.ratio)} times the gradient, and with "
            f"the middle ones ({_setting(middle)}) {number(middle.ratio)} times"
        )
    return (
        f"with the middle values of its space ({_setting(middle)}) the noise is {at_middle}; with "
        f"{at_lowest} it is {number(low.ratio)} times: much of the space is mostly noise"
    )


def _setting(found: NoiseAt) -> str:
    return ", ".join(f"{name} {given(value)}" for name, value in found.setting.items())


def _repeats(same: bool) -> Finding:
    if same:
        detail = "two trials with the same seed measured the same values"
        return Finding(name="randomness", state="ok", detail=detail)
    return Finding(
        name="randomness",
        state="warn",
        detail="two trials with the same seed measured different values",
        hint=(
            "Draw from torch, numpy and random, or from generators that you seed with trial.seed; "
            "pairs of runs then differ by the arm alone."
        ),
    )


class FileStudy:
    """A file and the study that is made of it.

    Args:
        reference: `FILE.py`, or `FILE.py:WORKLOAD` where the file declares several.
        options: What the command line gives.
        study_file: A YAML or JSON file with further fields of the study; None without one.

    Raises:
        SourceFileError: If the file cannot be imported, or does not declare one workload.
        MalformedStudyError: If the study file is not valid.

    Attributes:
        source: The code.
        workload: The name of the workload.
        difference_reason: Where the smallest difference is from, if it is a default.
    """

    def __init__(self, reference: str, options: StudyOptions, study_file: Path | None) -> None:
        path, choice = split_reference(reference)
        read = sources.read_file(path, choice)
        self.source: Source = read.source
        self.workload = read.workload
        self.difference_reason = ""
        self._catalogue = Catalogue.of(read.catalogue).including(read.source.announced)
        self._options = options
        self._in_file = read_study(study_file) if study_file is not None else {}

    def checked(self) -> Check:
        """Train a short trial of each arm and return what it shows.

        Raises:
            StudyFaultsError: If the study cannot run as described.
        """
        check = Check()
        # before the final comparison, any difference will do
        for answer in sources.check(self.source, self.spec({"smallest_difference": TINY})):
            check.add(answer)
        return check

    def declared(self, check: Check, settings: Settings) -> StudySpec:
        """Return the study, with a smallest difference from the check if none is given.

        Raises:
            StudyFaultsError: If the study cannot run as described.
            OptionError: If there is no smallest difference.
        """
        values = self._values()
        default: dict[str, Any] = {}
        if "smallest_difference" not in values:
            arms = list(check.values)
            default["smallest_difference"], self.difference_reason = smallest_difference(
                self._catalogue.workloads[self.workload],
                values.get("objective"),
                check.values[arms[0]] if arms else {},
            )
        return self.spec(default, settings.max_trials)

    def objective(self, spec: StudySpec) -> str:
        """Return the name of the metric that decides."""
        return spec.objective or self._catalogue.workloads[self.workload].metrics[0].name

    def spec(self, defaults: Mapping[str, Any], max_trials: int = 2**31) -> StudySpec:
        """Return the study with defaults for fields that are not given.

        Raises:
            StudyFaultsError: If the study cannot run as described.
        """
        values = {**defaults, **self._values()}
        try:
            spec = with_repeats(StudySpec.model_validate(values))
            legal.check(self._catalogue, spec, max_trials)
        except ValidationError as error:
            raise StudyFaultsError(spec_errors(error, values)) from None
        except InvalidSpecError as error:
            raise StudyFaultsError(error.errors) from None
        return spec

    def _values(self) -> dict[str, Any]:
        return assembled(
            self._options,
            self._in_file,
            file=self.source.name,
            workload=self.workload,
            source=self.source.hash,
        )


def split_reference(reference: str) -> tuple[Path, str]:
    """Return the path and the name of `FILE.py:NAME`.

    >>> split_reference("models/train.py:small")
    (PosixPath('models/train.py'), 'small')
    """
    file, colon, choice = reference.rpartition(":")
    return (Path(file), choice) if colon and file.endswith(".py") else (Path(reference), "")
