"""Sizes and event shapes of layers: numbers, or tensors where they are known only when a graph runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from tfpvae.checks import positive_integer, positive_integers
from tfpvae.errors import ModelError

Size: TypeAlias = Any
"""An `int`, or an int32 `tf.Tensor` of shape `[]` in a graph."""

Shape: TypeAlias = Any
"""A `tuple[int, ...]`, or an int32 `tf.Tensor` of shape `[rank]` in a graph."""

EventShape: TypeAlias = int | Sequence[int] | tf.Tensor
"""What layers take for a shape: `3` is `[3]`."""


def as_size(name: str, value: Any) -> Size:
    """A size that a layer was given: an integer, or a tensor of one.

    Raises:
        ModelError: it is neither, or is less than 1.
    """
    value = _value(value)
    if tf.is_tensor(value):
        return tf.reshape(_integers(name, value), [])
    return positive_integer(name, value)


def as_shape(event_shape: EventShape) -> Shape:
    """`3` to `(3,)`, `[28, 28]` to `(28, 28)`, as TFP's layers read them.

    Raises:
        ModelError: it is neither an integer of at least 1, nor a sequence or a tensor of such integers.
    """
    shape = _value(event_shape)
    if tf.is_tensor(shape):
        if shape.shape.rank not in (None, 0, 1):
            raise ModelError(f"event_shape must be a vector of integers. Received: event_shape={event_shape!r}")
        return tf.reshape(_integers("event_shape", shape), [-1])
    if isinstance(shape, list | tuple) and any(map(tf.is_tensor, shape)):
        sizes = [as_size("event_shape", size) for size in shape]
        return tf.stack(sizes) if any(map(tf.is_tensor, sizes)) else tuple(sizes)
    return positive_integers("event_shape", shape)


def num_values(shape: Shape) -> Size:
    """How many values a draw of this shape has."""
    return tf.reduce_prod(shape) if tf.is_tensor(shape) else math.prod(shape)


def num_axes(shape: Shape) -> Size:
    """How many axes a draw of this shape has."""
    if not tf.is_tensor(shape):
        return len(shape)
    return tf.size(shape) if shape.shape[0] is None else shape.shape[0]


def with_axes(before: Sequence[Any], shape: Shape, *after: Size) -> Any:
    """`[*before, *shape, *after]`, as `tf.reshape` takes it."""
    if tf.is_tensor(shape) or any(map(tf.is_tensor, after)):
        return tf.concat([before, shape, after] if after else [before, shape], axis=0)
    return [*before, *shape, *after]


def for_config(name: str, value: Any) -> Any:
    """A size or a shape as `get_config` writes it.

    Raises:
        ModelError: it is a tensor.
    """
    if tf.is_tensor(value):
        raise ModelError(
            f"{name} is a tensor, whose value is known only when the graph runs: the layer cannot be saved. "
            "Give integers."
        )
    return list(value) if isinstance(value, tuple) else value


def _value(value: Any) -> Any:
    """A tensor or an array that has a value now as Python's integers; all else as it is."""
    if isinstance(value, tf.Variable):
        value = tf.convert_to_tensor(value)
    if tf.is_tensor(value):
        static = tf.get_static_value(value)
        return value if static is None else static.tolist()
    return value.item() if isinstance(value, np.ndarray) and not value.ndim else value


def _integers(name: str, tensor: tf.Tensor) -> tf.Tensor:
    if not tensor.dtype.is_integer:
        raise ModelError(f"{name} must be made of integers. Received: {name}={tensor!r}")
    return tf.cast(tensor, tf.int32)
