"""Training as long as it pays, and the best weights."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import keras
import numpy as np

BOUND: Final = "val_elbo"
DROP: Final = 0.3
"""What the learning rate is multiplied with where the bound has stopped rising."""
DROPS: Final = 2
PATIENCE_STEPS: Final = 600
LEAST_PATIENCE: Final = 4
LEAST_RISE: Final = 0.002
"""Of the rise so far: what the bound must rise by for more steps to pay."""
LATE: Final = (0.7, 0.88)
"""At these shares of the time the learning rate drops in any case, so that the last steps settle."""


class BestWeights(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the highest bound on the validation images, and gives them back at the end.

    Args:
        history: of the epochs before, if the model has the best weights of those.
    """

    def __init__(self, history: Mapping[str, Sequence[float]]) -> None:
        super().__init__()
        self.bound = max(history.get(BOUND, ()), default=-math.inf)
        self._weights: list[np.ndarray] | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        del logs
        self._weights = self._present()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        del epoch
        bound = float((logs or {}).get(BOUND, -math.inf))
        if bound > self.bound:
            self.bound, self._weights = bound, self._present()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        del logs
        self.restore()

    def restore(self) -> None:
        """Gives the model the best weights. Counters, such as that of the steps, stay."""
        self._assign(self._weights)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the best weights within the block."""
        present = self._present()
        self.restore()
        try:
            yield
        finally:
            self._assign(present)

    def _present(self) -> list[np.ndarray]:
        return [np.array(variable) for variable in self.model.trainable_variables]

    def _assign(self, weights: list[np.ndarray] | None) -> None:
        if weights is not None:
            for variable, value in zip(self.model.trainable_variables, weights, strict=True):
                variable.assign(value)


class AsLongAsItPays(keras.callbacks.Callback):
    """The learning rate, and the end of training.

    With a number of epochs, the learning rate falls to zero along half a cosine. Without, training ends once the bound
    on the validation images has stopped rising: where it has not risen for a while, the best weights come back and the
    learning rate drops, and the third time training ends. It also drops towards the end of the time allowed.

    Args:
        best: the best weights, a callback before this one.
        minutes: how long training may take; None sets no limit.
        steps_per_epoch: how many steps an epoch has.
        epochs: how many epochs, or None for as long as it pays.

    Attributes:
        reason: why training ended before all epochs; empty if it did not.
        still_rising: whether the bound was still rising then.
    """

    def __init__(self, best: BestWeights, minutes: float | None, steps_per_epoch: int, epochs: int | None) -> None:
        super().__init__()
        self.best, self.epochs = best, epochs
        self.seconds = math.inf if minutes is None else 60 * minutes
        self.patience = max(LEAST_PATIENCE, -(-PATIENCE_STEPS // steps_per_epoch))
        self.reason = ""
        self.still_rising = False
        self._drops = self._late = 0
        self._first = self._high = -math.inf
        self._high_epoch = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        del logs
        self._started = time.monotonic()
        self._rate = float(self.model.optimizer.learning_rate)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        del logs
        if self.epochs is not None:
            self.model.optimizer.learning_rate = self._rate * 0.5 * (1.0 + math.cos(math.pi * epoch / self.epochs))

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        del batch, logs
        elapsed = time.monotonic() - self._started
        if elapsed >= self.seconds:
            self._stop(f"{self.seconds / 60:g} minutes were over", still_rising=True)
        elif self.epochs is None and self._late < len(LATE) and elapsed >= LATE[self._late] * self.seconds:
            self._late += 1
            self._drop()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        bound = float((logs or {})[BOUND])
        if self._first == -math.inf:
            self._first = bound
        if self._high == -math.inf or bound > self._high + LEAST_RISE * max(0.0, self._high - self._first):
            self._high, self._high_epoch = bound, epoch
        elif self.epochs is None and epoch - self._high_epoch >= self.patience and not self.reason:
            self._high_epoch = epoch
            if self._drops >= DROPS:
                self._stop("the bound of the validation images had stopped rising", still_rising=False)
            else:
                self.best.restore()
                self._drop()

    def summary(self, history: Mapping[str, Sequence[float]]) -> str:
        """One line: how many epochs, how far the bound rose, and why training ended."""
        bounds = history[BOUND]
        line = f"{len(bounds)} epochs: validation ELBO {bounds[0]:.2f} -> {max(bounds):.2f} nats per image"
        if self.reason:
            line += f"; {self.reason}"
        if self.still_rising:
            line += ", and the bound was still rising: go on with --resume"
        return line + "."

    def _drop(self) -> None:
        self._drops += 1
        self.model.optimizer.learning_rate = DROP * float(self.model.optimizer.learning_rate)

    def _stop(self, reason: str, *, still_rising: bool) -> None:
        self.reason, self.still_rising = reason, still_rising
        self.model.stop_training = True
