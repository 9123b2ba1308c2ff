"""The condition y of a model of p(x given y): what it must be, and how networks see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfpvae.errors import ModelError
from tfpvae.models import feeding

MISSING = "y must be given: this model is conditional. Received: y=None"


def spec(num_classes: int | None, shape: Sequence[int]) -> tf.TensorSpec:
    """What y must be: int64 labels `[None]`, or float32 `[None, *shape]` where there are no classes."""
    if num_classes is None:
        return tf.TensorSpec([None, *shape], tf.float32, name="y")
    return tf.TensorSpec([None], tf.int64, name="y")


def as_networks_see_it(y: tf.Tensor | None, num_classes: int | None, dtype: str) -> tf.Tensor:
    """y as float `[B, *shape]`: labels one-hot, everything else as it is.

    A label outside the classes is a row of zeros: inside a graph, nothing can be refused.

    Raises:
        ModelError: y is None.
    """
    if y is None:
        raise ModelError(MISSING)
    y = tf.convert_to_tensor(y)
    if num_classes is None:
        return tf.cast(y, dtype)
    # tf.one_hot with a label out of range is another row in ONNX, which counts negative ones from the end.
    classes = tf.range(num_classes, dtype=tf.int64)
    return tf.cast(tf.equal(tf.cast(y, tf.int64)[:, tf.newaxis], classes), dtype)


def for_rows(y: Any, rows: int | None, num_classes: int | None, shape: tuple[int, ...] | None) -> tf.Tensor:
    """y for so many rows, checked: one y for all rows is repeated. Inside a graph it stays as it is.

    Args:
        y: a scalar, an array of one row, or `[rows, ...]`.
        rows: how many; None where that is not known.
        num_classes: how many labels there are; None where y is no label.
        shape: the shape of one y that is no label; None where that is not known.

    Raises:
        DataError: y has another shape or type, or a label is out of range.
        ModelError: y is None.
    """
    if y is None:
        raise ModelError(MISSING)
    if rows is None or not tf.executing_eagerly():
        return tf.convert_to_tensor(y)
    y = np.asarray(y)
    if y.ndim == 0:
        y = y[np.newaxis]
    support = feeding.condition_support(num_classes)
    feeding.check_condition(y, rows if len(y) != 1 else None, support, shape, "y")
    return tf.constant(np.repeat(y, rows, axis=0) if len(y) == 1 else y)
