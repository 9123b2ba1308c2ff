"""A tiny VAE to put a prior into."""

from __future__ import annotations

import numpy as np
import pytest

EVENT, LATENT = 6, 3


@pytest.fixture
def x():
    """Data of the tiny VAE, `[64, 6]` of 0 and 1."""
    return (np.random.default_rng(0).uniform(size=(64, EVENT)) < 0.4).astype(np.float32)


@pytest.fixture
def tiny_vae():
    """`tiny_vae(prior, posterior)`: a compiled Bernoulli VAE of vectors of 6, with three latents."""
    import keras

    import tfpvae
    from tfpvae import layers

    def build(prior=None, posterior=None):
        posterior = posterior or layers.MultivariateNormalDiag(LATENT)
        size = posterior.params_size(LATENT) if hasattr(posterior, "params_size") else 2 * LATENT
        encoder = keras.Sequential(
            [keras.Input((EVENT,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(size), posterior]
        )
        decoder = keras.Sequential(
            [keras.Input((LATENT,)), keras.layers.Dense(EVENT), layers.IndependentBernoulli([EVENT])]
        )
        vae = tfpvae.VAE(encoder, decoder, prior)
        vae.compile(keras.optimizers.Adam(1e-2))
        return vae

    return build
