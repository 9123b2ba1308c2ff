"""A likelihood over angles, as a user would write it outside the package, with public names alone."""

from __future__ import annotations

import math

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae import layers, supports


@keras.saving.register_keras_serializable(package="own")
class WrappedNormal(layers.DistributionLayer):
    """Independent angles in [-pi, pi]: a normal distribution wrapped around the circle once in either direction.

    Args:
        size: D, the number of angles.
        **kwargs: those of `DistributionLayer`.

    Call: `[B, D]` -> batch `[B]`, event `[D]`; the scale is 0.5.
    """

    support = supports.Interval(-math.pi, math.pi, advice="Wrap angles by (x + pi) % (2 pi) - pi.")

    def __init__(self, size: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.size = size

    def parameters(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"loc": math.pi * tf.tanh(inputs)}

    def distribution(self, loc: tf.Tensor) -> tfd.Distribution:
        turns = tf.constant([-2.0 * math.pi, 0.0, 2.0 * math.pi])
        components = tfd.Normal(loc[..., tf.newaxis] + turns, 0.5)
        mixture = tfd.MixtureSameFamily(tfd.Categorical(logits=tf.zeros_like(components.loc)), components)
        return tfd.Independent(mixture, 1)

    def mean(self, parameters: dict[str, tf.Tensor]) -> tf.Tensor:
        return parameters["loc"]

    def get_config(self) -> dict:
        return {**super().get_config(), "size": self.size}
