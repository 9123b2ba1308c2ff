"""Inverse distribution functions, in operations that have an ONNX form."""

from __future__ import annotations

import tensorflow as tf


def categorical_quantile(logits: tf.Tensor, uniforms: tf.Tensor) -> tf.Tensor:
    """The category k with F(k - 1) <= u < F(k).

    Args:
        logits: `[..., K]`.
        uniforms: `[...]` in [0, 1).

    Returns:
        int32 `[...]`, 0 to K - 1.
    """
    cdf = tf.cumsum(tf.nn.softmax(logits, axis=-1), axis=-1)
    return tf.reduce_sum(tf.cast(uniforms[..., None] >= cdf[..., :-1], tf.int32), axis=-1)


def logistic_quantile(uniforms: tf.Tensor) -> tf.Tensor:
    """ln(u / (1 - u)) of multiples u of 2^-24 in [0, 1); u = 0 gives ln 2^-25, so no value is infinite."""
    return tf.math.log(tf.maximum(uniforms, 2.0**-25)) - tf.math.log(1.0 - uniforms)


def pick(values: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """The value that each row's index names.

    Args:
        values: `[*batch_shape, K, *event_shape]`.
        index: int32 `[*batch_shape]`, 0 to K - 1.

    Returns:
        `[*batch_shape, *event_shape]`.
    """
    axis = index.shape.rank
    one_hot = tf.one_hot(index, values.shape[axis], dtype=values.dtype)
    one_hot = tf.reshape(one_hot, tf.concat([tf.shape(one_hot), [1] * (values.shape.rank - axis - 1)], axis=0))
    return tf.reduce_sum(one_hot * values, axis=axis)
