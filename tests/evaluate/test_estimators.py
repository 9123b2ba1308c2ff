"""Importance sampling beside naive Monte Carlo: where they agree, where not, and that the words say so."""

import numpy as np
import pytest


def test_they_agree_with_few_latents(linear_gaussian):
    from scipy import stats

    from tfpvae.evaluate import compare_estimators

    x = linear_gaussian.x[:40]
    done: list[int] = []
    found = compare_estimators(linear_gaussian.vae, x, samples=2000, progress=done.append)
    exact = stats.multivariate_normal(linear_gaussian.mu, linear_gaussian.covariance).logpdf(x).mean()
    assert found.importance.log_marginal.mean() == pytest.approx(exact, abs=1e-3)  # q is the posterior.
    assert found.agree
    assert abs(found.monte_carlo.log_marginal.mean() - exact) < found.shown_error
    assert found.gap.value == pytest.approx(exact - found.monte_carlo.log_marginal.mean(), abs=1e-3)
    assert "They agree" in str(found)
    assert done == [32, 40, 32, 40]


def test_naive_monte_carlo_fails_with_many_and_the_words_say_so():
    import keras

    import tfpvae
    from tfpvae import layers
    from tfpvae.evaluate import compare_estimators

    # x = z + noise in 20 dimensions: p(x) = N(0, (1 + sigma^2) I), q the posterior.
    D, sigma = 20, 0.1
    shrink = 1 / (1 + sigma**2)
    params = keras.layers.Dense(2 * D)
    encoder = keras.Sequential([keras.Input((D,)), params, layers.MultivariateNormalDiag(D)])
    raw = np.log(np.expm1(sigma * np.sqrt(shrink)))
    params.set_weights([np.hstack([shrink * np.eye(D), np.zeros((D, D))]), np.repeat([0.0, raw], D)])
    identity = keras.layers.Dense(D)
    decoder = keras.Sequential([keras.Input((D,)), identity, layers.SphericalNormal((D,), scale=sigma)])
    identity.set_weights([np.eye(D), np.zeros(D)])
    x = np.random.default_rng(0).normal(0, np.sqrt(1 + sigma**2), (8, D)).astype(np.float32)

    found = compare_estimators(tfpvae.VAE(encoder, decoder), x, samples=500)
    exact = -0.5 * (np.square(x).sum(axis=1) / (1 + sigma**2) + D * np.log(2 * np.pi * (1 + sigma**2)))
    np.testing.assert_allclose(found.importance.log_marginal, exact, atol=1e-2)
    assert found.gap.value > 100
    assert found.shown_error < 4  # The errors shown do not show it.
    assert not found.agree
    text = str(found)
    assert "nats too low, and its standard error does not show it" in text
    assert "importance sampling" in text
    assert "naive Monte Carlo" in text
