"""A subclass that overrides posterior or likelihood: everything uses the override, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from tfpvae.signatures import ONNX_DIRECTORY


@pytest.fixture(scope="module")
def sharpened(digits):
    """A VAE whose p(x given z) has the decoder's logits doubled, trained a little; and its decoder."""
    import keras

    import tfpvae
    from tfpvae import layers

    class Sharpened(tfpvae.VAE):
        def likelihood(self, latents, training=False):
            dense, bernoulli = self.decoder.layers
            return bernoulli(2.0 * dense(latents.z))

    keras.utils.set_random_seed(0)
    encoder = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(8), layers.MultivariateNormalDiag(4)]
    )
    decoder = keras.Sequential([keras.Input((4,)), keras.layers.Dense(64), layers.IndependentBernoulli((8, 8, 1))])
    model = Sharpened(encoder, decoder)
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(digits.train, epochs=2, batch_size=50, verbose=0)
    return model


def logits(model, z):
    """The logits of p(x given z), in NumPy from the decoder's weights."""
    kernel, bias = (np.asarray(w, np.float64) for w in model.decoder.get_weights()[:2])
    return 2.0 * (np.asarray(z, np.float64) @ kernel + bias).reshape(-1, 8, 8, 1)


def log_p(x, logits):
    return (x * logits - np.logaddexp(0, logits)).sum(axis=(1, 2, 3))


def probs(logits):
    return 1 / (1 + np.exp(-logits))


def test_training_and_evaluation(sharpened, digits, monkeypatch):
    import tensorflow as tf

    from tfpvae.batch import Batch

    x, seed = digits.test[:32], tf.constant([3, 4])
    monkeypatch.setattr(sharpened, "_next_seed", lambda: seed)
    z = sharpened.encode(x).sample(seed=seed)
    sharpened.reset_metrics()
    reported = sharpened.test_on_batch(x, return_dict=True)
    np.testing.assert_allclose(reported["log_likelihood"], log_p(x, logits(sharpened, z)).mean(), rtol=1e-5)
    np.testing.assert_allclose(
        sharpened.objective(sharpened, Batch(x), seed).log_likelihood, log_p(x, logits(sharpened, z)), rtol=1e-5
    )


def test_calls(sharpened, digits):
    z = sharpened.sample_latent(5, seed=1)
    expected = logits(sharpened, z)
    np.testing.assert_allclose(sharpened.decode(z).named_parameters["logits"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sharpened.sample_mean(5, seed=1), probs(expected), rtol=1e-4, atol=1e-6)
    x = digits.test[:5]
    at_mean = probs(logits(sharpened, sharpened.encode(x).mean()))
    np.testing.assert_allclose(sharpened.reconstruct(x), at_mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(sharpened.predict(x, verbose=0), at_mean, rtol=1e-4, atol=1e-6)
    stddev = sharpened.predict(x, statistics="stddev", verbose=0)["stddev"]
    np.testing.assert_allclose(stddev, np.sqrt(at_mean * (1 - at_mean)), rtol=1e-3, atol=1e-5)
    assert sharpened(x).event_shape == (8, 8, 1)


def test_score_and_estimates_of_log_p_agree_with_the_override(sharpened, digits):
    from tfpvae.evaluate import importance_log_marginal
    from tfpvae.models import sampling
    from tfpvae.random.seeds import POSTERIOR

    x = digits.test[:16]
    z = sampling.draw(sharpened.encode(x), sampling.as_seeds(16, 9), POSTERIOR)
    score = sharpened.score(x, seed=9)
    np.testing.assert_allclose(score["log_likelihood"], log_p(x, logits(sharpened, z)), rtol=1e-4)
    estimate = importance_log_marginal(sharpened, x, samples=300, seed=2).log_marginal
    rng = np.random.default_rng(0)
    q = sharpened.encode(x)
    loc, scale = (np.asarray(q.named_parameters[k], np.float64) for k in ("loc", "scale"))
    draws = loc + scale * rng.standard_normal((3000, 16, 4))
    log_q = (-0.5 * ((draws - loc) / scale) ** 2 - np.log(scale)).sum(axis=-1)
    log_prior = -0.5 * (draws**2).sum(axis=-1)
    log_x = np.stack([log_p(x, logits(sharpened, draw)) for draw in draws])
    weights = log_x + log_prior - log_q
    by_hand = np.log(np.exp(weights - weights.max(axis=0)).mean(axis=0)) + weights.max(axis=0)
    np.testing.assert_allclose(estimate, by_hand, atol=1.0)


def test_exports(sharpened, digits, only, tmp_path):
    import tfpvae
    from tfpvae.export import Profile
    from tfpvae.export.targets.onnx import run_onnx

    only("decode", "sample_mean", "reconstruct", "score")
    path = tfpvae.export_model(
        sharpened, tmp_path / "model", profile=Profile(float16="never", int8="never", litert=False)
    ).path
    run, x = run_onnx(path / ONNX_DIRECTORY), digits.test[:4]
    z = np.asarray(sharpened.sample_latent(4, seed=0))
    expected = probs(logits(sharpened, z))
    np.testing.assert_allclose(run("decode", {"z": z})["mean"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(run("sample_mean", {"seed": np.arange(4)})["mean"], expected, rtol=1e-4, atol=1e-5)
    score = run("score", {"x": x, "seed": np.arange(4)})
    np.testing.assert_allclose(score["elbo"], sharpened.score(x, seed=0)["elbo"], rtol=1e-5)


def test_a_two_stage_model_uses_the_functions_of_its_stages(sharpened, digits):
    import keras

    import tfpvae
    from tfpvae import layers

    second = tfpvae.VAE(
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), layers.MultivariateNormalDiag(2)]),
        keras.Sequential([keras.Input((2,)), keras.layers.Dense(8), layers.MultivariateNormalDiag(4)]),
    )
    vae = tfpvae.TwoStageVAE(sharpened, second)
    z = np.asarray(vae.sample_latent(4, seed=0))
    expected = logits(sharpened, z[:, 2:])
    np.testing.assert_allclose(vae.decode(z).named_parameters["logits"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_an_overridden_posterior_is_what_everything_draws_from(build_vae, digits):
    """A bare distribution of TFP will do, but for what is drawn by seed or exported."""
    import tensorflow_probability as tfp

    import tfpvae
    from tfpvae.errors import ModelError

    class Narrow(tfpvae.VAE):
        def posterior(self, batch, training=False):
            q = super().posterior(batch, training)
            return tfp.distributions.MultivariateNormalDiag(q.mean(), 0.1 * q.stddev())

    plain = build_vae()
    vae = Narrow(plain.encoder, plain.decoder)
    x = digits.test[:6]
    np.testing.assert_allclose(vae.encode(x).stddev(), 0.1 * plain.encode(x).stddev(), rtol=1e-5)
    np.testing.assert_allclose(vae.reconstruct(x), plain.reconstruct(x), atol=1e-6)
    vae.compile("adam")
    vae.fit(digits.train[:100], verbose=0)
    with pytest.raises(ModelError, match="cannot be drawn by seed"):
        vae.score(x, seed=1)
