"""A training function under way: it runs in a thread of its own, and only while it is told to, one
epoch at a time.
"""

import queue
import threading
from collections.abc import Mapping
from typing import Any, NoReturn

from gradnoise._processes import NoiseProcess
from gradnoise.techniques import ON_GRADIENTS
from gradnoise.training.randomness import Randomness
from gradnoise.training.setup import Setup
from gradnoise.workloads.function import FunctionWorkload, Trial

CLOSE_SECONDS = 5.0


class ReleasedError(BaseException):
    """The trial was taken out of its slot; raised in its function by `report`, and not an
    Exception, so that no handler there stops it.
    """


class FunctionRun:
    """A training function with its thread. Function and trainer take turns: one of them always
    waits for the other.

    Args:
        setup: The trial.
        workload: The function to train with.

    Raises:
        ValueError: If the technique does not act through the optimizer, which is all that a
            function hands over.
    """

    def __init__(self, setup: Setup, workload: FunctionWorkload) -> None:
        spec, effect = setup.spec, setup.effect
        if effect is not None and not isinstance(effect, NoiseProcess):
            raise ValueError(
                f"technique must be one of {', '.join(ON_GRADIENTS)} on {spec.workload}, but got "
                f"{spec.technique!r}."
            )
        self._trial = Trial(
            params=spec.params,
            options=setup.options,
            optimizer=spec.optimizer,
            seed=spec.seed,
            budget_epochs=spec.budget_epochs,
            with_test=spec.with_test,
            metrics=workload.metrics,
            injection=effect,
            hand_over=self._hand_over,
        )
        self._randomness = Randomness(spec.seed)
        self._orders: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._news: queue.SimpleQueue[Mapping[str, float] | Exception | None] = queue.SimpleQueue()
        self._released = False
        self._thread = threading.Thread(
            target=self._run, args=(workload,), name=f"trial {spec.key}", daemon=True
        )
        self._thread.start()

    def train_epoch(self) -> Mapping[str, float]:
        values = self._turn()
        if values is None:
            self._refuse_early_end()
        if self._trial.epoch == self._trial.budget_epochs:
            self._turn()
        return values

    def state(self) -> None:
        """The function keeps its state to itself."""

    def load(self, state: Mapping[str, Any]) -> None:
        """Nothing was kept."""

    def close(self) -> None:
        """Make the function end at its next report; one that goes on all the same is left to itself
        after some seconds.
        """
        self._released = True
        self._orders.put(False)
        self._thread.join(CLOSE_SECONDS)

    def _turn(self) -> Mapping[str, float] | None:
        """Let the function run up to its next report, whose values are returned, or to its end:
        None.
        """
        with self._randomness.lent():
            self._orders.put(True)
            news = self._news.get()
        if isinstance(news, Exception):
            raise news
        return news

    def _refuse_early_end(self) -> NoReturn:
        trial = self._trial
        raise RuntimeError(
            f"the function ended after {trial.epoch} of {trial.budget_epochs} epochs: every arm "
            "must train its whole budget."
        )

    def _run(self, workload: FunctionWorkload) -> None:
        try:
            self._await_turn()
            workload.train(self._trial)
            self._news.put(None)
        except ReleasedError:
            pass
        except Exception as error:
            self._news.put(error)
        except BaseException as error:  # such as SystemExit: the trainer must not wait for ever
            self._news.put(RuntimeError(f"the function ended by {error!r}."))

    def _hand_over(self, _epoch: int, values: Mapping[str, float]) -> None:
        if self._released:
            raise ReleasedError
        self._news.put(values)
        self._await_turn()

    def _await_turn(self) -> None:
        if not self._orders.get():
            raise ReleasedError
