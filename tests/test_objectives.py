"""The bound's terms, by hand."""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.special import log_expit


def test_the_terms_of_the_elbo_are_those_of_numpy(vae, digits):
    import tensorflow as tf

    from tfpvae.objectives import Terms, elbo, elbo_at

    x = digits.test[:7]
    seed = tf.constant([5, 6])
    terms = elbo(vae, tf.constant(x), seed)
    q = vae.encode(x)
    loc, scale = q.loc.numpy(), q.stddev().numpy()
    z = q.sample(seed=seed).numpy()
    logits = vae.decode(z).named_parameters["logits"].numpy().astype(np.float64)

    log_likelihood = np.sum(x * log_expit(logits) + (1 - x) * log_expit(-logits), axis=(1, 2, 3))
    kl = 0.5 * np.sum(scale**2 + loc**2 - 1 - 2 * np.log(scale), axis=-1)
    np.testing.assert_allclose(terms.log_likelihood, log_likelihood, rtol=1e-5)
    np.testing.assert_allclose(terms.kl, kl, rtol=1e-5)
    np.testing.assert_allclose(terms.elbo, log_likelihood - kl, rtol=1e-5)
    assert [t.shape for t in terms] == [(7,), (7,), (7,)]

    at = elbo_at(vae, vae.posterior(tf.constant(x)), tf.constant(z), tf.constant(x))
    np.testing.assert_allclose(at.elbo, terms.elbo, rtol=1e-5)
    assert isinstance(at, Terms)
    assert Terms._fields == ("bound", "log_likelihood", "kl")
    np.testing.assert_array_equal(at.bound, at.elbo)


def test_the_elbo_bounds_the_log_marginal_and_an_exact_posterior_meets_it():
    """A linear Gaussian model, whose posterior and log p(x) are known: at the true posterior the gap closes."""
    import tensorflow as tf
    import tensorflow_probability as tfp

    from tfpvae.objectives import elbo
    from tfpvae.priors import StandardNormal

    tfd = tfp.distributions
    # z ~ N(0, 1), x | z ~ N(2 z, 1): x ~ N(0, 5), z | x ~ N(2 x / 5, 1 / 5).
    x = np.array([[-1.0], [0.3], [2.0]], np.float32)
    log_marginal = stats.norm(0, np.sqrt(5)).logpdf(x[:, 0])

    class Linear:
        prior = StandardNormal(1)

        def __init__(self, shift):
            self.shift = shift

        def posterior(self, batch, training=False):
            return tfd.MultivariateNormalDiag(0.4 * batch.x + self.shift, np.float32([np.sqrt(0.2)]))

        def prior_distribution(self, y=None, training=False):
            return self.prior.distribution()

        def likelihood(self, latents, training=False):
            return tfd.Independent(tfd.Normal(2.0 * latents.z, 1.0), 1)

    draws = 4000
    many = tf.constant(np.repeat(x, draws, axis=0))
    for shift, gap in ((0.0, 0.0), (0.5, 0.5 * 0.5**2 / 0.2)):  # The gap is KL(q || true posterior).
        values = elbo(Linear(shift), many, tf.constant([1, 2])).elbo.numpy().reshape(3, draws).astype(np.float64)
        error = np.abs(values.mean(1) - (log_marginal - gap))
        assert (error < 4 * values.std(1) / np.sqrt(draws) + 1e-5).all()


def test_a_draw_differs_by_seed_and_none_is_fresh(vae, digits):
    import tensorflow as tf

    from tfpvae.objectives import elbo

    x = tf.constant(digits.test[:3])
    a, b = (elbo(vae, x, tf.constant(seed)).log_likelihood.numpy() for seed in ([1, 2], [1, 3]))
    assert (a != b).all()
    np.testing.assert_array_equal(elbo(vae, x, tf.constant([1, 2])).log_likelihood, a)
    assert (elbo(vae, x).log_likelihood.numpy() != elbo(vae, x).log_likelihood.numpy()).any()
