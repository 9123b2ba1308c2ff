"""Rate, distortion and bits per dimension, and of what data they are."""

import numpy as np
import pytest

from tfpvae.errors import DataError, ModelError


class TestRateDistortion:
    def test_closed_form(self, linear_gaussian):
        from tfpvae.evaluate import rate_distortion

        found = rate_distortion(linear_gaussian.vae, linear_gaussian.x)
        rate = linear_gaussian.kl.sum(axis=1)
        assert found.rate.value == pytest.approx(rate.mean(), rel=1e-4)
        assert found.rate.standard_error == pytest.approx(rate.std(ddof=1) / 20, rel=1e-3)
        expected = -linear_gaussian.expected_log_likelihood.mean()
        assert abs(found.distortion.value - expected) < 3 * found.distortion.standard_error
        assert 0 < found.distortion.standard_error < 0.5
        assert found.elbo.value == pytest.approx(-found.rate.value - found.distortion.value, abs=1e-4)

    def test_is_what_score_reports(self, vae, digits):
        from tfpvae.evaluate import rate_distortion

        score = vae.score(digits.test, seed=3)
        done: list[int] = []
        found = rate_distortion(vae, digits.test, seed=3, batch_size=100, progress=done.append)
        assert found.rate.value == pytest.approx(float(np.mean(score["kl"])), rel=1e-5)
        assert found.distortion.value == pytest.approx(-float(np.mean(score["log_likelihood"])), rel=1e-5)
        assert found.elbo.standard_error == pytest.approx(np.std(score["elbo"], ddof=1) / np.sqrt(297), rel=1e-4)
        assert done == [100, 200, 297]

    def test_one_example_has_no_standard_error(self, linear_gaussian):
        from tfpvae.evaluate import rate_distortion

        found = rate_distortion(linear_gaussian.vae, linear_gaussian.x[:1])
        assert np.isfinite(found.rate.value)
        assert np.isnan(found.rate.standard_error)


class TestBitsPerDimension:
    def test_known_values(self):
        from tfpvae.evaluate import bits_per_dimension

        # Every 8-bit value equally probable: 8 bits each. Every binary one: 1 bit.
        assert bits_per_dimension(12 * np.log(1 / 256), (2, 2, 3), discrete=True) == pytest.approx(8)
        assert bits_per_dimension([64 * np.log(0.5)] * 3, (8, 8, 1), discrete=True) == pytest.approx(1)
        assert bits_per_dimension([-1.0, -3.0], (4,), discrete=True) == pytest.approx(2 / 4 / np.log(2))

    def test_a_density_is_refused(self):
        from tfpvae.evaluate import bits_per_dimension

        with pytest.raises(ModelError, match=r"discrete data.*unit of x.*no bound"):
            bits_per_dimension(-3.0, (4,), discrete=False)

    def test_an_event_without_values_is_refused(self):
        from tfpvae.evaluate import bits_per_dimension

        with pytest.raises(ModelError, match=r"event_shape=\(2, 0\)"):
            bits_per_dimension(-3.0, (2, 0), discrete=True)


class TestKind:
    def test_bernoulli_of_binary_data_is_a_mass(self, vae, digits):
        from tfpvae.evaluate import is_probability_mass

        assert is_probability_mass(vae, digits.test) is True

    def test_bernoulli_of_grey_data_is_neither(self, vae, digits):
        from tfpvae.evaluate import is_probability_mass

        with pytest.raises(DataError, match=r"cross-entropy, not the likelihood of any data.*0\.25"):
            is_probability_mass(vae, digits.test * 0.25)

    def test_a_gaussian_is_a_density(self, linear_gaussian):
        from tfpvae.evaluate import is_probability_mass

        assert is_probability_mass(linear_gaussian.vae, linear_gaussian.x) is False

    def test_pixels_must_be_on_the_grid(self, build_vae, digits):
        from tfpvae import layers
        from tfpvae.evaluate import is_probability_mass

        vae = build_vae(likelihood=layers.IndependentDiscretizedLogistic((8, 8, 1)))
        assert is_probability_mass(vae, np.float32(np.rint(digits.test * 77) / 255)) is True
        with pytest.raises(DataError, match="8-bit pixels"):
            is_probability_mass(vae, digits.test * np.float32(0.3001))

    @pytest.mark.parametrize(("name", "discrete"), [("Normal", False), ("Poisson", True)])
    def test_of_a_lambda_layer_it_is_what_tfp_says(self, linear_gaussian, name, discrete):
        import keras
        import tensorflow as tf
        from tensorflow_probability import distributions as tfd

        import tfpvae
        from tfpvae import layers
        from tfpvae.evaluate import is_probability_mass

        def likelihood(t):
            inner = tfd.Normal(t, 1.0) if name == "Normal" else tfd.Poisson(tf.exp(t))
            return tfd.Independent(inner, 1)

        decoder = keras.Sequential([keras.Input((3,)), keras.layers.Dense(8), layers.DistributionLambda(likelihood)])
        vae = tfpvae.VAE(linear_gaussian.vae.encoder, decoder)
        assert is_probability_mass(vae, np.ones([2, 8], np.float32)) is discrete
