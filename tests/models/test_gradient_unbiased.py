"""A minibatch's gradient is an unbiased estimate of that of all the data [KW14, eq. 8]."""

from __future__ import annotations

import numpy as np
import pytest

N, BATCH, EVENT, LATENT = 24, 6, 5, 3


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(N, EVENT)).astype(np.float32)


def build(cls=None, objective=None):
    """A VAE with a learned gamma, whose optimizer takes steps of the gradient itself."""
    import keras

    import tfpvae
    from tfpvae.layers import MultivariateNormalDiag, SphericalNormal

    dense = keras.layers.Dense
    encoder = keras.Sequential(
        [keras.Input((EVENT,)), dense(6, "tanh"), dense(2 * LATENT), MultivariateNormalDiag(LATENT)]
    )
    decoder = keras.Sequential(
        [keras.Input((LATENT,)), dense(6, "tanh"), dense(EVENT), SphericalNormal(EVENT, 0.7, learn_scale=True)]
    )
    vae = (cls or tfpvae.VAE)(encoder, decoder, objective=objective)
    vae.compile(keras.optimizers.SGD(1.0))
    return vae


def with_noise_of_its_own():
    """A VAE whose draw of z is a function of the example, the same in whatever batch it comes."""
    import tensorflow as tf

    import tfpvae

    mix = np.random.default_rng(1).normal(size=(EVENT, LATENT)).astype(np.float32)

    class Fixed(tfpvae.VAE):
        def posterior(self, batch, training=False):
            x = batch.x
            q = super().posterior(batch, training).tensor_distribution

            def sample(sample_shape=(), seed=None):
                z = q.loc + q.stddev() * 1.4 * tf.sin(30.0 * x @ mix)
                return tf.broadcast_to(z, tf.concat([np.ravel(sample_shape).astype(np.int32), tf.shape(z)], axis=0))

            q.sample = sample
            return q

    return Fixed


def gradients(vae, batches) -> np.ndarray:
    """The gradient of the loss in a training step on each batch, all weights in one vector, `[len(batches), W]`.

    It is what `train_on_batch` takes off the weights at a learning rate of 1. The draws go on from batch to batch.
    """
    start = [np.array(v) for v in vae.trainable_variables]
    found = []
    for x in batches:
        vae.train_on_batch(x)
        moved = [before - np.array(v) for before, v in zip(start, vae.trainable_variables, strict=True)]
        found.append(np.concatenate([np.ravel(part) for part in moved]).astype(np.float64))
        for v, before in zip(vae.trainable_variables, start, strict=True):
            v.assign(before)
    return np.stack(found)


@pytest.mark.parametrize("k", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_the_mean_over_a_partition_is_the_gradient_of_all_the_data(x, k):
    from tfpvae.objectives import Iwae

    vae = build(with_noise_of_its_own(), None if k is None else Iwae(k))
    (whole,) = gradients(vae, [x])
    parts = gradients(vae, np.split(np.random.default_rng(2).permutation(x), N // BATCH))
    assert (np.abs(whole) > 1e-3).mean() > 0.9  # Weights of encoder, decoder and gamma all have a gradient ...
    assert (np.abs(parts - whole) > 1e-2).any(axis=0).mean() > 0.9  # ... in which batches differ.
    np.testing.assert_allclose(parts.mean(axis=0), whole, rtol=1e-4, atol=3e-6)


@pytest.mark.slow
def test_the_mean_over_random_batches_and_draws_is_the_gradient_of_all_the_data(x):
    vae = build()
    rng = np.random.default_rng(3)
    parts = gradients(vae, (x[rng.choice(N, BATCH, replace=False)] for _ in range(600)))
    wholes = gradients(vae, (x for _ in range(200)))

    def gap(times: float) -> float:
        """The largest difference of the means, in standard errors, if the gradient of all data were so many times."""
        difference = parts.mean(axis=0) - times * wholes.mean(axis=0)
        return np.max(np.abs(difference) / np.sqrt(parts.var(axis=0) / len(parts) + wholes.var(axis=0) / len(wholes)))

    assert gap(1.0) < 4.0  # The largest of some 100 weights.
    assert min(gap(0.8), gap(1.2)) > 5.0  # Enough draws to tell a scale that depends on the batch.
