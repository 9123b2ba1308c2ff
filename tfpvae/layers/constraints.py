"""From the outputs of a network to parameters of a distribution, finite whatever the outputs are."""

from __future__ import annotations

from typing import Final

import tensorflow as tf

from tfpvae.errors import ModelError
from tfpvae.layers.sizes import Size

SMALLEST: Final = 1e-6
"""The least scale, rate, concentration or count that a layer makes. Where softplus underflows, TFP's layers make zero,
whose log-probability is infinite or not a number; larger values are TFP's to the last digit."""

LARGEST_LOG_RATE: Final = 30.0
"""The largest log rate that a layer makes, a rate of 1e13: float32 counts no further than 2^24, and exp overflows
at 88.7."""


def at_least(x: tf.Tensor, minimum: float) -> tf.Tensor:
    """max(x, minimum), with the gradient of x: a value below the bound is not stuck there."""
    return tf.stop_gradient(tf.maximum(x, minimum)) + _zero(x)


def at_most(x: tf.Tensor, maximum: float) -> tf.Tensor:
    """min(x, maximum), with the gradient of x: a value above the bound is not stuck there."""
    return tf.stop_gradient(tf.minimum(x, maximum)) + _zero(x)


def _zero(x: tf.Tensor) -> tf.Tensor:
    """0 with the gradient of x."""
    return x - tf.stop_gradient(x)


def positive(raw: tf.Tensor) -> tf.Tensor:
    """softplus(raw), at least `SMALLEST`."""
    return at_least(tf.nn.softplus(raw), SMALLEST)


def check_size(inputs: tf.Tensor, size: Size, layer: object) -> None:
    """Refuses inputs whose last axis is known not to be the layer's `params_size`.

    Raises:
        ModelError: it is not.
    """
    if inputs.shape.rank == 0 or (isinstance(size, int) and inputs.shape[-1] not in (None, size)):
        raise ModelError(
            f"The inputs of {type(layer).__name__} must have its params_size, {size}, as their last axis. "
            f"Received: inputs of shape {inputs.shape}"
        )
