"""A model of its own: the logits of the decoder are those of a main network plus a small residual."""

from __future__ import annotations

import keras

import tfpvae
from tfpvae import layers


def network(size: int, out: int, hidden: int) -> keras.Model:
    """A network from vectors to vectors."""
    return keras.Sequential([keras.Input((size,)), keras.layers.Dense(hidden, "tanh"), keras.layers.Dense(out)])


@keras.saving.register_keras_serializable("own")
class ResidualVAE(tfpvae.LatentVariableModel):
    """q(z given x) of a flat image, and p(x given z) of two networks."""

    def __init__(self, latent: int = 3, objective=None, **kwargs):
        super().__init__(objective=objective, **kwargs)
        self.latent = latent
        self.flatten = keras.layers.Flatten()
        self.hidden = network(64, 2 * latent, 16)
        self.gaussian = layers.MultivariateNormalDiag(latent)
        self.main = network(latent, 64, 16)
        self.residual = network(latent, 64, 4)
        self.pixels = layers.IndependentBernoulli((8, 8, 1))
        self.build((None, 8, 8, 1))

    def posterior(self, batch, training=False):
        return self.gaussian(self.hidden(self.flatten(batch.x), training=training))

    def likelihood(self, latents, training=False):
        logits = self.main(latents.z, training=training) + 0.5 * self.residual(latents.z, training=training)
        return self.pixels(logits)

    def get_config(self):
        objective = keras.saving.serialize_keras_object(self.objective)
        return {**super().get_config(), "latent": self.latent, "objective": objective}


@keras.saving.register_keras_serializable("own")
class ConditionalResidualVAE(ResidualVAE):
    """The same given a label, which shifts the latents that the decoder sees."""

    takes_condition = True
    num_classes = 10

    def build(self, input_shape):
        self.shift = keras.layers.Dense(self.latent)
        self.shift.build((None, 10))
        super().build([(None, 8, 8, 1), (None,)])

    def likelihood(self, latents, training=False):
        z = latents.z + self.shift(self.condition_tensor(latents.y))
        return super().likelihood(latents._replace(z=z), training)
