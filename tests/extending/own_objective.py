"""An objective of its own: the mean of two bounds, each of one draw."""

from __future__ import annotations

import keras
import tensorflow_probability as tfp

from tfpvae.objectives import Objective, Terms, elbo


@keras.saving.register_keras_serializable("own")
class TwoDraws(Objective):
    """E_q[log p(x given z)] by two draws, minus the KL."""

    def __call__(self, model, batch, seed=None, training=False, step=0):
        beta = self.beta_at(step)
        first, second = (elbo(model, batch, s, training, beta) for s in tfp.random.split_seed(seed, n=2))
        return Terms(*((a + b) / 2 for a, b in zip(first, second, strict=True)))
