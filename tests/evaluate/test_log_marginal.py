"""Estimates of log p(x) beside its closed form on probabilistic PCA, and what they promise of seeds and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

if TYPE_CHECKING:
    from tfpvae import VAE


class Ppca(NamedTuple):
    """A VAE whose p(x) is known, data from it, and log p(x) in float64."""

    vae: VAE
    x: np.ndarray
    log_marginal: np.ndarray


def ppca(latents: int, pixels: int, rows: int, sigma: float = 0.7, move: float = 0.0, widen: float = 1.0) -> Ppca:
    """z ~ N(0, I), x given z ~ N(W z + mu, sigma^2 I); q is the posterior, moved and widened by so much."""
    import keras
    import tensorflow_probability as tfp

    import tfpvae
    from tfpvae import layers

    tfb, tfd = tfp.bijectors, tfp.distributions
    rng = np.random.default_rng(latents)
    W, mu = rng.normal(size=(pixels, latents)), rng.normal(size=pixels)
    x = rng.normal(size=(rows, latents)) @ W.T + mu + sigma * rng.normal(size=(rows, pixels))
    covariance = np.linalg.inv(W.T @ W / sigma**2 + np.eye(latents))
    matrix = covariance @ W.T / sigma**2
    # What the layer makes the posterior's scale of.
    fill = tfb.FillScaleTriL(diag_bijector=tfb.Softplus(), diag_shift=np.float64(1e-5))
    raw = fill.inverse(widen * np.linalg.cholesky(covariance)).numpy()

    params = keras.layers.Dense(latents + len(raw))
    encoder = keras.Sequential([keras.Input((pixels,)), params, layers.MultivariateNormalTriL(latents)])
    params.set_weights(
        [np.pad(matrix.T, [(0, 0), (0, len(raw))]), np.concatenate([move - matrix @ mu, raw])],
    )
    linear = keras.layers.Dense(pixels)
    noise = layers.DistributionLambda(lambda loc: tfd.Independent(tfd.Normal(loc, np.float32(sigma)), 1))
    decoder = keras.Sequential([keras.Input((latents,)), linear, noise])
    linear.set_weights([W.T, mu])
    x = x.astype(np.float32)
    log_marginal = stats.multivariate_normal(mu, W @ W.T + sigma**2 * np.eye(pixels)).logpdf(x)
    return Ppca(tfpvae.VAE(encoder, decoder), x, log_marginal)


@pytest.fixture(scope="module")
def wide() -> Ppca:
    """Three latents, and a q that is not the posterior."""
    return ppca(3, 6, rows=64, move=0.1, widen=1.3)


class TestImportanceSampling:
    def test_within_its_standard_error_of_the_closed_form(self, wide):
        from tfpvae.evaluate import importance_log_marginal

        result = importance_log_marginal(wide.vae, wide.x, samples=400)
        score = (result.log_marginal - wide.log_marginal) / result.standard_error
        assert (np.abs(score[:8]) < 3).all()
        # The standard error is right, not only large: over 64 rows the squared scores average to 1.
        assert 0.6 < np.mean(score**2) < 1.5
        assert (result.standard_error > 0.005).all()
        assert (result.standard_error < 0.2).all()
        assert result.samples == 400
        assert result.log_marginal.dtype == result.standard_error.dtype == np.float64

    def test_the_error_shrinks_as_one_over_the_root_of_the_draws(self, wide):
        from tfpvae.evaluate import importance_log_marginal

        few, many = (importance_log_marginal(wide.vae, wide.x[:16], samples=s) for s in (200, 3200))
        ratio = np.mean(few.standard_error) / np.mean(many.standard_error)
        assert 3.4 < ratio < 4.6
        assert np.abs(many.log_marginal - wide.log_marginal[:16]).mean() < 0.02

    def test_exact_at_the_true_posterior(self):
        from tfpvae.evaluate import importance_log_marginal

        exact = ppca(3, 6, rows=5)
        result = importance_log_marginal(exact.vae, exact.x, samples=20)
        np.testing.assert_allclose(result.log_marginal, exact.log_marginal, rtol=0, atol=1e-4)
        assert (result.standard_error < 1e-5).all()
        np.testing.assert_allclose(result.effective_samples, 20, rtol=1e-6)

    def test_its_draws_are_those_of_the_layers_by_the_seeds_it_says(self, wide):
        import tensorflow as tf

        from tfpvae.evaluate import importance_log_marginal
        from tfpvae.evaluate.log_marginal import sample_seeds
        from tfpvae.models import sampling
        from tfpvae.random.seeds import POSTERIOR

        x = tf.constant(wide.x[:3])
        q, weights = wide.vae.encode(x), []
        for seeds in sample_seeds(np.arange(7, 10), 0, 5):
            z = sampling.draw(q, tf.constant(seeds), POSTERIOR)
            log_joint = wide.vae.decode(z).log_prob(x) + wide.vae.prior.distribution().log_prob(z)
            weights.append((log_joint - q.log_prob(z)).numpy().astype(np.float64))
        result = importance_log_marginal(wide.vae, wide.x[:3], samples=5, seed=7)
        np.testing.assert_allclose(result.log_marginal, logsumexp(weights, axis=0) - np.log(5), rtol=0, atol=1e-5)
        w = np.exp(weights)
        np.testing.assert_allclose(result.standard_error, w.std(0, ddof=1) / np.sqrt(5) / w.mean(0), rtol=1e-4)
        np.testing.assert_allclose(result.effective_samples, w.sum(0) ** 2 / (w**2).sum(0), rtol=1e-4)

    def test_a_parameter_that_all_rows_share(self, wide):
        import keras
        import tensorflow as tf

        import tfpvae
        from tfpvae import layers
        from tfpvae.evaluate import importance_log_marginal

        class Shared(layers.MultivariateNormalDiag):
            def parameters(self, inputs):
                return {"loc": inputs, "scale": tf.constant([0.3, 0.4, 0.5])}

        encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3), Shared(3)])
        encoder.layers[0].set_weights([w[..., :3] for w in wide.vae.encoder.get_weights()[:2]])
        vae = tfpvae.VAE(encoder, wide.vae.decoder)
        result = importance_log_marginal(vae, wide.x[:8], samples=1000, batch_size=5)
        assert (np.abs(result.log_marginal - wide.log_marginal[:8]) < 3 * result.standard_error).all()

    def test_a_trained_vae_is_above_its_elbo(self, vae, digits):
        import tensorflow as tf

        from tfpvae.evaluate import importance_log_marginal, mean_score, monte_carlo_log_marginal

        x = digits.test[:20]
        elbo = mean_score(vae, tf.data.Dataset.from_tensor_slices(x).batch(20))["elbo"]
        result = importance_log_marginal(vae, x, samples=200)
        assert elbo + 0.2 < result.log_marginal.mean() < elbo + 10
        # Four latents: the prior still finds them with enough draws.
        naive = monte_carlo_log_marginal(vae, x, samples=2000)
        gap = result.log_marginal - naive.log_marginal
        assert np.abs(gap.mean()) < 3 * np.sqrt(np.sum(result.standard_error**2 + naive.standard_error**2)) / 20


class TestMonteCarlo:
    @pytest.mark.parametrize("latents", [1, 2])
    def test_agrees_with_few_latents(self, latents):
        from tfpvae.evaluate import monte_carlo_log_marginal

        few = ppca(latents, 3, rows=24)
        result = monte_carlo_log_marginal(few.vae, few.x, samples=4000)
        score = (result.log_marginal - few.log_marginal) / result.standard_error
        assert (np.abs(score[:8]) < 3).all()
        assert 0.4 < np.mean(score**2) < 2
        assert (result.standard_error < 0.25).all()

    def test_fails_with_twenty_and_its_standard_error_does_not_show_it(self):
        from tfpvae.evaluate import importance_log_marginal, monte_carlo_log_marginal

        many = ppca(20, 30, rows=8, sigma=0.3, widen=1.1)
        naive = monte_carlo_log_marginal(many.vae, many.x, samples=2000)
        error = many.log_marginal - naive.log_marginal
        assert (error > 50).all()  # Nats, and always too low.
        assert (naive.standard_error <= 1).all()
        assert (naive.effective_samples < 20).all()

        weighted = importance_log_marginal(many.vae, many.x, samples=2000)
        assert (np.abs(weighted.log_marginal - many.log_marginal) < 3 * weighted.standard_error).all()
        assert (weighted.standard_error < 0.1).all()
        assert (weighted.effective_samples > 100).all()

    def test_its_draws_are_those_of_the_prior_by_the_seeds_it_says(self, wide):
        import tensorflow as tf

        from tfpvae.evaluate import monte_carlo_log_marginal
        from tfpvae.evaluate.log_marginal import sample_seeds

        x = tf.constant(wide.x[:3])
        seeds = sample_seeds(np.arange(7, 10), 0, 5)
        weights = [
            wide.vae.decode(wide.vae.sample_latent(seed=s)).log_prob(x).numpy().astype(np.float64) for s in seeds
        ]
        result = monte_carlo_log_marginal(wide.vae, wide.x[:3], samples=5, seed=7)
        np.testing.assert_allclose(result.log_marginal, logsumexp(weights, axis=0) - np.log(5), rtol=0, atol=1e-5)


@pytest.fixture(params=["importance_log_marginal", "monte_carlo_log_marginal"])
def estimate(request):
    """Each of the two estimators."""
    from tfpvae import evaluate

    return getattr(evaluate, request.param)


class TestBoth:
    def test_results_do_not_depend_on_batch_and_chunk_size(self, estimate, wide):
        x, whole = wide.x[:10], estimate(wide.vae, wide.x[:10], samples=50, seed=3)
        for batch_size, chunk_size in ((1, 50), (3, 7), (10, 1), (1000, 1000)):
            result = estimate(wide.vae, x, samples=50, seed=3, batch_size=batch_size, chunk_size=chunk_size)
            np.testing.assert_allclose(result.log_marginal, whole.log_marginal, rtol=0, atol=1e-4)
            np.testing.assert_allclose(result.standard_error, whole.standard_error, rtol=1e-3)

    def test_a_row_depends_on_its_seed_alone(self, estimate, wide):
        whole = estimate(wide.vae, wide.x[:4], samples=9, seed=-2)
        alone = estimate(wide.vae, wide.x[2:3], samples=9, seed=0)
        np.testing.assert_allclose(alone.log_marginal, whole.log_marginal[2:3], rtol=0, atol=1e-4)
        given = estimate(wide.vae, wide.x[:4], samples=9, seed=[-2, -1, 0, 1])
        np.testing.assert_array_equal(given.log_marginal, whole.log_marginal)
        other = estimate(wide.vae, wide.x[:4], samples=9, seed=5)
        assert (np.abs(other.log_marginal - whole.log_marginal) > 1e-4).all()
        fresh = [estimate(wide.vae, wide.x[:4], samples=2, seed=None).log_marginal for _ in range(2)]
        assert (fresh[0] != fresh[1]).any()

    def test_the_decoder_never_sees_more_than_a_chunk_of_a_batch(self, estimate, wide, monkeypatch):
        import tensorflow as tf

        from tfpvae import VAE

        likelihood, posterior = VAE.likelihood, VAE.posterior
        decoded, encoded = [], []

        def spy(self, latents, training=False):
            rows = tf.shape(latents.z)[0]
            count = tf.numpy_function(lambda n: decoded.append(int(n)) or np.int32(n), [rows], tf.int32)
            with tf.control_dependencies([count]):
                return likelihood(self, latents._replace(z=tf.identity(latents.z)), training)

        def spy_on_posterior(self, batch, training=False):
            if batch.x.shape[0] != 1:  # One row of zeros tells what q looks like.
                encoded.append(len(batch.x))
            return posterior(self, batch, training)

        monkeypatch.setattr(wide.vae, "kept", type(wide.vae.kept)())  # No graph of another test's.
        monkeypatch.setattr(VAE, "likelihood", spy)
        monkeypatch.setattr(VAE, "posterior", spy_on_posterior)
        done: list[int] = []
        estimate(wide.vae, wide.x[:10], samples=23, batch_size=4, chunk_size=5, progress=done.append)
        assert decoded == [20, 20, 20, 20, 12] * 2 + [10, 10, 10, 10, 6]
        assert sum(encoded) == (10 if "importance" in estimate.__name__ else 0)  # Each row once.
        assert done == [4, 8, 10]

    def test_a_second_call_takes_the_first_ones_graph_and_the_weights_of_its_day(self, estimate, build_vae, digits):
        vae, x = build_vae(), digits.test[:3]
        first = estimate(vae, x, samples=4).log_marginal
        graphs = vae.kept.names()
        assert len(graphs) == 1
        assert estimate(vae, x[:2], samples=4, batch_size=1).log_marginal.shape == (2,)
        np.testing.assert_array_equal(estimate(vae, x, samples=4).log_marginal, first)
        vae.set_weights([weight + 0.5 for weight in vae.get_weights()])
        second = estimate(vae, x, samples=4).log_marginal
        assert np.abs(second - first).max() > 1e-3
        assert vae.kept.names() == graphs
        vae.compile()
        assert vae.kept.names() == []
        np.testing.assert_array_equal(estimate(vae, x, samples=4).log_marginal, second)

    def test_one_draw_has_no_standard_error(self, estimate, wide):
        result = estimate(wide.vae, wide.x[:2], samples=1)
        assert np.isfinite(result.log_marginal).all()
        assert np.isnan(result.standard_error).all()

    @pytest.mark.parametrize("name", ["samples", "batch_size", "chunk_size"])
    @pytest.mark.parametrize("value", [0, -3, 1.5, True])
    def test_counts_are_checked(self, estimate, wide, name, value):
        from tfpvae.errors import ModelError

        with pytest.raises(ModelError, match=f"{name} must be an integer of at least 1. Received: {name}="):
            estimate(wide.vae, wide.x, **{name: value})

    def test_seeds_and_data_are_checked(self, estimate, wide):
        from tfpvae.errors import DataError, ModelError

        with pytest.raises(ModelError, match="one seed for each row"):
            estimate(wide.vae, wide.x[:3], samples=2, seed=[1, 2])
        for x in (wide.x[:, :4], wide.x[0], wide.x[:0], np.full_like(wide.x, np.nan), np.float32(0)):
            with pytest.raises(DataError, match="x must"):
                estimate(wide.vae, x, samples=2)

    def test_grey_pixels_have_no_likelihood_under_a_bernoulli_model(self, estimate, vae, digits):
        with pytest.warns(UserWarning, match="x holds grey values") as caught:
            estimate(vae, digits.test[:2] * 0.5, samples=2)
        assert caught[0].filename == __file__
        assert np.isfinite(estimate(vae, digits.test[:2].astype(np.uint8), samples=2).log_marginal).all()


class TestWhatCannotBeDrawnBySeed:
    @pytest.fixture
    def by_function(self, build_vae):
        """The tests' VAE with a posterior and a prior that TFP alone can draw."""
        import keras
        from tensorflow_probability import distributions as tfd

        from tfpvae import layers

        posterior = layers.DistributionLambda(lambda loc: tfd.Independent(tfd.Laplace(loc, 1.0), 1))
        encoder = keras.Sequential(
            [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(4), posterior],
        )
        return build_vae(encoder=encoder, prior=tfd.Independent(tfd.Laplace([0.0] * 4, 1.0), 1))

    def test_is_refused(self, by_function, digits):
        from tfpvae.errors import ModelError
        from tfpvae.evaluate import importance_log_marginal, monte_carlo_log_marginal

        with pytest.raises(ModelError, match="layer DistributionLambda cannot be drawn from a fixed number"):
            importance_log_marginal(by_function, digits.test[:2], samples=2)
        with pytest.raises(ModelError, match="Prior DistributionPrior cannot be drawn by seed"):
            monte_carlo_log_marginal(by_function, digits.test[:2], samples=2)


class TestSampleSeeds:
    SEEDS = np.array([0, 1, -5, 2**63 - 1, -(2**63)], np.int64)

    def test_are_the_words_of_stream_three(self):
        from tfpvae.evaluate.log_marginal import sample_seeds
        from tfpvae.random.numpy import random_bits

        words = random_bits(self.SEEDS, 2 * 9, stream=3).astype(np.uint64)
        expected = (words[:, 0::2] + (words[:, 1::2] << np.uint64(32))).astype(np.int64)
        np.testing.assert_array_equal(sample_seeds(self.SEEDS, 0, 9), expected.T)
        np.testing.assert_array_equal(sample_seeds(self.SEEDS, 4, 5), expected.T[4:])

    def test_no_two_are_alike(self):
        from tfpvae.evaluate.log_marginal import sample_seeds

        seeds = sample_seeds(np.arange(-50, 50), 0, 1000)
        assert seeds.shape == (1000, 100)
        assert len(np.unique(seeds)) == seeds.size


class TestLogMeanExp:
    def merge(self, chunks):
        from tfpvae.evaluate.log_marginal import _LogMeanExp

        mean = _LogMeanExp(chunks[0].shape[1])
        for chunk in chunks:
            mean.add(chunk)
        return mean.value(), mean.standard_error()

    @pytest.mark.parametrize("spread", [1e-6, 1.0, 300.0])
    @pytest.mark.parametrize("level", [-5000.0, 0.0, 5000.0])
    def test_merged_chunks_are_the_whole(self, spread, level):
        log_weights = level + spread * np.random.default_rng(0).normal(size=(100, 6))
        scaled = np.exp(log_weights - log_weights.max(0))
        value, error = self.merge(np.split(log_weights, [1, 2, 10, 64]))
        np.testing.assert_allclose(value, logsumexp(log_weights, axis=0) - np.log(100), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(error, scaled.std(0, ddof=1) / 10 / scaled.mean(0), rtol=1e-6)

    def test_weights_of_zero_and_no_numbers(self):
        inf, nan = np.inf, np.nan
        chunks = [np.array([[-inf, -inf, nan, 1.0]]), np.array([[-inf, 2.0, 0.0, nan], [-inf, -inf, 0.0, 0.0]])]
        value, error = self.merge(chunks)
        np.testing.assert_allclose(value, [-inf, 2 - np.log(3), nan, nan])
        np.testing.assert_allclose(error, [nan, 1.0, nan, nan])
