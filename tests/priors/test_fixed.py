"""Priors without weights, whose moments are known. What every prior must do is in `test_every_prior.py`."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

LOC = np.float32([1.0, -2.0, 0.5])
SCALE = np.float32([0.5, 1.0, 2.0])
TRIL = np.float32([[0.5, 0, 0], [0.3, 1.0, 0], [-0.4, 0.7, 2.0]])
I3 = np.eye(3)

# Name -> (how it is made of priors and tfd, mean, covariance).
CASES = {
    "StandardNormal": (lambda priors, tfd: priors.StandardNormal(3), 0 * LOC, I3),
    "StandardNormal, even": (lambda priors, tfd: priors.StandardNormal(4), np.zeros(4), np.eye(4)),
    "DistributionPrior of Independent(Normal)": (
        lambda priors, tfd: priors.DistributionPrior(tfd.Independent(tfd.Normal(LOC, SCALE), 1)),
        LOC,
        np.diag(SCALE**2),
    ),
    "DistributionPrior of Sample(Normal)": (
        lambda priors, tfd: priors.DistributionPrior(tfd.Sample(tfd.Normal(0.5, 2.0), 3)),
        np.full(3, 0.5),
        4 * I3,
    ),
    "DistributionPrior of MultivariateNormalDiag": (
        lambda priors, tfd: priors.DistributionPrior(tfd.MultivariateNormalDiag(LOC, SCALE)),
        LOC,
        np.diag(SCALE**2),
    ),
    "DistributionPrior of MultivariateNormalDiag, no loc": (
        lambda priors, tfd: priors.DistributionPrior(tfd.MultivariateNormalDiag(scale_diag=SCALE)),
        0 * LOC,
        np.diag(SCALE**2),
    ),
    "DistributionPrior of MultivariateNormalTriL": (
        lambda priors, tfd: priors.DistributionPrior(tfd.MultivariateNormalTriL(LOC, TRIL)),
        LOC,
        TRIL @ TRIL.T,
    ),
}


@pytest.fixture(scope="module")
def make():
    import tensorflow_probability as tfp

    from tfpvae import priors

    return lambda name: CASES[name][0](priors, tfp.distributions)


@pytest.mark.parametrize("name", CASES)
def test_draws_by_seed_follow_the_distribution(name, make):
    import tensorflow as tf

    from tfpvae.random.tensorflow import uniform

    prior = make(name)
    _, mean, covariance = CASES[name]
    n = 5000
    z = prior.draw(uniform(tf.range(n, dtype=tf.int64), prior.num_uniforms)).numpy().astype(np.float64)
    assert z.shape == (n, prior.event_size)
    # Whitened by the expected moments the draws are standard normal in every direction.
    white = np.linalg.solve(np.linalg.cholesky(np.asarray(covariance, np.float64)), (z - mean).T).T
    for lane in range(prior.event_size):
        assert stats.kstest(white[:, lane], "norm").pvalue > 1e-3
    off = np.corrcoef(white.T)[np.triu_indices(prior.event_size, 1)]
    assert np.abs(off).max() < 4 / np.sqrt(n)

    p = prior.distribution()
    assert p.batch_shape == []
    np.testing.assert_allclose(p.mean(), mean, atol=1e-6)
    np.testing.assert_allclose(p.stddev(), np.sqrt(np.diag(covariance)), atol=1e-5)
    expected = stats.multivariate_normal(mean, covariance).logpdf(z[:50])
    np.testing.assert_allclose(p.log_prob(tf.constant(z[:50], tf.float32)), expected, rtol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_a_prior_survives_json(name, make):
    import keras
    import tensorflow as tf

    prior = make(name)
    text = json.dumps(keras.saving.serialize_keras_object(prior))
    loaded = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(loaded) is type(prior)
    assert loaded.event_size == prior.event_size
    u = tf.random.stateless_uniform([5, prior.num_uniforms], seed=[1, 2])
    np.testing.assert_array_equal(loaded.draw(u), prior.draw(u))
    z = tf.random.stateless_normal([5, prior.event_size], seed=[1, 2])
    np.testing.assert_array_equal(loaded.distribution().log_prob(z), prior.distribution().log_prob(z))


def test_a_prior_that_is_no_gaussian_is_not_drawn_by_seed():
    import tensorflow as tf
    import tensorflow_probability as tfp

    from tfpvae.priors import DistributionPrior

    tfd = tfp.distributions
    prior = DistributionPrior(tfd.Independent(tfd.Laplace(tf.zeros(3), 1.0), 1))
    assert prior.event_size == 3
    assert prior.num_uniforms is None
    with pytest.raises(NotImplementedError, match="DistributionPrior cannot be drawn"):
        prior.draw(tf.zeros([2, 4]))


@pytest.mark.parametrize("size", [0, -1, 2.0, True, "3", None])
def test_the_size_must_be_a_positive_integer(size):
    from tfpvae.errors import ModelError
    from tfpvae.priors import StandardNormal

    with pytest.raises(ModelError, match=r"event_size must be an integer of at least 1\. Received: event_size="):
        StandardNormal(size)


def test_a_distribution_must_be_over_one_vector():
    import tensorflow as tf
    import tensorflow_probability as tfp

    from tfpvae.errors import ModelError
    from tfpvae.priors import DistributionPrior

    tfd = tfp.distributions
    for wrong in (
        tfd.Normal(tf.zeros(3), 1.0),
        tfd.Normal(0.0, 1.0),
        tfd.MultivariateNormalDiag(tf.zeros([2, 3])),
        tfd.Independent(tfd.Normal(tf.zeros([2, 3]), 1.0), 2),
    ):
        with pytest.raises(
            ModelError, match=r"one distribution over a vector.*tfd\.Independent.*Received: batch shape"
        ):
            DistributionPrior(wrong)
    with pytest.raises(
        ModelError, match=r"A prior must be a tfpvae\.priors\.Prior or a tfd\.Distribution\. Received: str"
    ):
        DistributionPrior("normal")
