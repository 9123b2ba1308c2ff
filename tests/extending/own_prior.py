"""A prior of its own: Gaussian, with a mean that is learned."""

from __future__ import annotations

import keras
import tensorflow_probability as tfp

from tfpvae.priors import Prior
from tfpvae.random.tensorflow import normal_from_uniform

tfd = tfp.distributions


@keras.saving.register_keras_serializable("own")
class LearnedMean(Prior):
    """N(loc, I) with a learned loc."""

    def __init__(self, event_size: int, **kwargs):
        super().__init__(**kwargs)
        self.event_size = event_size
        self.loc = self.add_weight(name="loc", shape=(event_size,), initializer="zeros")
        self.built = True

    def distribution(self):
        return tfd.MultivariateNormalDiag(keras.ops.convert_to_tensor(self.loc), keras.ops.ones(self.event_size))

    @property
    def num_uniforms(self):
        return self.event_size + self.event_size % 2

    def draw(self, uniforms):
        return self.loc + normal_from_uniform(uniforms)[:, : self.event_size]

    def get_config(self):
        return {**super().get_config(), "event_size": self.event_size}
