"""A running training function.

It runs in a separate thread, one epoch at a time, and waits between epochs.
"""

import queue
import threading
from collections.abc import Mapping
from typing import Any, NoReturn

from gradnoise.training.randomness import Randomness
from gradnoise.training.setup import Setup
from gradnoise.workloads.function import FunctionWorkload, Trial

CLOSE_SECONDS = 5.0


class ReleasedError(BaseException):
    """The trial was removed from its slot; raised in its function by `report`.

    It is not an Exception, so that no handler of the function catches it.
    """


class FunctionRun:
    """A training function with its thread.

    Function and trainer take turns: while one of them runs, the other waits.

    Args:
        setup: The trial.
        workload: The function to train with.

    Raises:
        ValueError: If a technique contributes to weights or activations, which a function does not
            hand over.
    """

    def __init__(self, setup: Setup, workload: FunctionWorkload) -> None:
        spec = setup.spec
        unreachable = sorted(set(setup.contribution.places) - set(workload.places))
        if unreachable:
            raise ValueError(
                f"techniques must contribute to {' and '.join(workload.places)} alone on "
                f"{workload.name}, but got {', '.join(map(repr, spec.techniques))}, which also "
                f"contributes to {' and '.join(unreachable)}."
            )
        self._trial = Trial(
            params=spec.params,
            options=setup.options,
            optimizer=spec.optimizer,
            seed=spec.seed,
            budget_epochs=spec.budget_epochs,
            with_test=spec.with_test,
            metrics=workload.metrics,
            process=setup.contribution.gradient,
            hand_over=self._hand_over,
        )
        self._randomness = Randomness(spec.seed)
        self._turns: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Mapping[str, float] | Exception | None] = (
            queue.SimpleQueue()
        )
        self._is_released = False
        self._thread = threading.Thread(
            target=self._run, args=(workload,), name=f"trial {spec.key}", daemon=True
        )
        self._thread.start()

    def train_epoch(self) -> Mapping[str, float]:
        values = self._turn()
        if values is None:
            self._raise_early_end()
        if self._trial.epoch == self._trial.budget_epochs:
            self._turn()
        return values

    def state(self) -> None:
        """Return None: the function's state is not accessible."""

    def load(self, state: Mapping[str, Any]) -> None:
        """Do nothing: no state was kept."""

    def close(self) -> None:
        """End the function at its next report.

        A thread that is still running after CLOSE_SECONDS is abandoned.
        """
        self._is_released = True
        self._turns.put(False)
        self._thread.join(CLOSE_SECONDS)

    def _turn(self) -> Mapping[str, float] | None:
        """Run the function up to its next report and return the values; None if it ended."""
        with self._randomness.lent():
            self._turns.put(True)
            result = self._results.get()
        if isinstance(result, Exception):
            raise result
        return result

    def _raise_early_end(self) -> NoReturn:
        trial = self._trial
        raise RuntimeError(
            f"the function ended after {trial.epoch} of {trial.budget_epochs} epochs: every arm "
            "must train its whole budget."
        )

    def _run(self, workload: FunctionWorkload) -> None:
        try:
            self._await_turn()
            workload.train(self._trial)
            self._results.put(None)
        except ReleasedError:
            pass
        except Exception as error:
            self._results.put(error)
        except BaseException as error:  # such as SystemExit: the trainer must not wait forever
            self._results.put(RuntimeError(f"the function ended by {error!r}."))

    def _hand_over(self, _epoch: int, values: Mapping[str, float]) -> None:
        if self._is_released:
            raise ReleasedError
        self._results.put(values)
        self._await_turn()

    def _await_turn(self) -> None:
        if not self._turns.get():
            raise ReleasedError
