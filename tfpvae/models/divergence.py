"""Training that diverges ends with an error, before the weights are lost."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from tfpvae.errors import DivergedError, ModelError

_MARK: Final = "tfpvae: the training diverged"
_LARGE: Final = 100.0
"""Data that goes beyond it is the likely cause. Networks and starting scales expect numbers around one."""


def checked_gradients(loss: tf.Tensor, gradients: list[Any], optimizer: keras.optimizers.Optimizer) -> list[Any]:
    """The gradients of a training step, whose computation fails where the loss or a gradient is not finite.

    Of the gradients only those of vectors and numbers are looked at, the biases: what is not finite in a layer reaches
    its bias, and all of them together are a thousandth of the weights. XLA leaves the check out; `StopWhenDiverged`
    then sees the loss of the epoch.

    Args:
        loss: `[]`.
        gradients: of the trainable variables; None for one that has no part in the loss.
        optimizer: the optimizer. One that scales the loss expects such gradients, and leaves out their steps.
    """
    total = tf.cast(loss, tf.float32)
    if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        small = [g for g in gradients if isinstance(g, tf.Tensor) and g.shape.rank is not None and g.shape.rank < 2]
        total += tf.add_n([tf.reduce_sum(tf.cast(gradient, tf.float32)) for gradient in small] or [0.0])
    with tf.control_dependencies([tf.debugging.Assert(tf.math.is_finite(total), [_MARK])]):
        return [tf.identity(g) if isinstance(g, tf.Tensor) else g for g in gradients]


class StopWhenDiverged(keras.callbacks.Callback):
    """Ends training after an epoch whose loss, validation loss or weights are not finite, and can undo the epoch."""

    def __init__(self) -> None:
        super().__init__()
        self._before: list[tuple[keras.Variable, np.ndarray]] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        del epoch, logs
        self._before = [(variable, np.array(variable.value.numpy())) for variable in self._variables()]

    def _variables(self) -> list[keras.Variable]:
        return [*self.model.variables, *self.model.optimizer.variables]

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        del logs
        self._before = []

    def undo(self) -> str:
        """Takes model and optimizer back to the beginning of the epoch where weights are lost, and says what was kept.

        A gradient that overflows in a layer's kernel alone, or in the optimizer's square of it, is not seen before the
        step.
        """
        if _are_finite(self._variables()):
            return "The model has the weights from before that batch."
        for variable, value in self._before:
            variable.assign(value)
        return "The model has the weights from the beginning of that epoch."

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        for name in ("loss", "val_loss"):
            value = (logs or {}).get(name, 0.0)
            if not math.isfinite(value):
                raise _Diverged(f"{name} of epoch {epoch + 1} was {value}")
        if not _are_finite(self._variables()):
            raise _Diverged(f"after epoch {epoch + 1} weights, or what the optimizer keeps of them, were not finite")


class _Diverged(Exception):  # noqa: N818  It never leaves this module.
    pass


@contextlib.contextmanager
def divergence_named(model: keras.Model, x: Any, watch: StopWhenDiverged) -> Iterator[None]:
    """Turns the failure of `checked_gradients` and of `StopWhenDiverged` into a DivergedError that says what to do.

    Args:
        model: the model that is trained.
        x: the data where it is in memory, else None.
        watch: the callback that training has.
    """
    try:
        yield
    except (tf.errors.InvalidArgumentError, _Diverged) as error:
        if isinstance(error, tf.errors.InvalidArgumentError) and _MARK not in error.message:
            raise
        what = str(error) if isinstance(error, _Diverged) else "the loss of a batch or its gradient was not finite"
        raise DivergedError(f"Training diverged: {what}. {watch.undo()} {_advice(model, x)}") from error


def _advice(model: keras.Model, x: Any) -> str:
    rate = float(np.asarray(model.optimizer.learning_rate))
    slower = f"use a smaller learning rate than {rate:.3g}, or limit the gradients (clipnorm=1.0 in the optimizer)"
    largest = float(np.abs(np.asarray(x), dtype=np.float64).max()) if x is not None else 0.0
    if largest <= _LARGE:
        return f"{slower[0].upper()}{slower[1:]}. Data far from 0 or from 1 in size is another cause: scale it."
    return (
        f"The data goes up to {largest:.3g} in size: scale each column to mean 0 and standard deviation 1, with "
        f"sklearn.preprocessing.StandardScaler for instance. If that is not it, {slower}."
    )


def has_finite_weights(model: keras.Model) -> bool:
    """Whether all weights of a model are finite."""
    return _are_finite(model.variables)


def _are_finite(variables: list[keras.Variable]) -> bool:
    floating = (variable for variable in variables if keras.backend.is_float_dtype(variable.dtype))
    return all(np.isfinite(variable.value.numpy().astype(np.float32)).all() for variable in floating)


def check_weights(model: keras.Model) -> None:
    """Refuses a model whose weights are lost.

    Raises:
        ModelError: a weight is NaN or infinite.
    """
    if not has_finite_weights(model):
        raise ModelError(
            "The model's weights are not finite: its training diverged. Train it again, with scaled data or a smaller "
            "learning rate."
        )
